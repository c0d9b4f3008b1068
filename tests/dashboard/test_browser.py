"""The dashboard in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode

import pytest

selenium = pytest.importorskip("selenium", reason="the browser test needs selenium")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1400",
]
CHART = '[data-testid="stVegaLiteChart"] :is(svg, canvas)'
ERRORS = '[data-testid="stException"], [data-testid="stAlertContentError"]'
CHOICES = '[data-testid="stButtonGroup"] button'
PATIENCE = 60


@pytest.fixture(scope="module")
def address(results_folder):
    """Start the dashboard as its command does, and return where it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "kfc_bench.cli", "dashboard", str(results_folder), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # A session of its own, so that the server ends with the command that started it.
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/_stcore/health"):
            assert server.poll() is None, "the dashboard ended"
            assert time.monotonic() < end, "the dashboard does not answer"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(
        options=options, service=Service(chromedriver, log_output=str(Path(profile) / "driver.log"))
    )
    yield driver
    driver.quit()


def visit(browser, address, path, charts, **query):
    """Open a page, wait for its charts, and return the titles that they bear."""
    browser.get(f"{address}/{path}?{urlencode(query, doseq=True)}")
    wait = WebDriverWait(browser, PATIENCE)
    wait.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, CHART)) == charts)
    assert browser.find_elements(By.CSS_SELECTOR, ERRORS) == []
    return browser.find_element(By.CSS_SELECTOR, '[data-testid="stMain"]').text


def pressed(browser):
    return {
        element.text
        for element in browser.find_elements(By.CSS_SELECTOR, 'button[aria-pressed="true"], [aria-checked="true"]')
    }


def test_cost_page(browser, address):
    text = visit(browser, address, "", 2)
    assert "Time of step\nnetwork digits" in text
    assert "CPU, no GPU" in text


def test_convergence_page(browser, address):
    text = visit(browser, address, "convergence", 1)
    assert "Time to target: test error ≤ 0.25" in text


def test_a_link_reproduces_the_view(browser, address):
    query = {"of": "layer digits.conv2", "phase": "accumulate", "approximation": ["KFC", "diagonal"]}
    text = visit(browser, address, "", 2, **query)
    assert "Time of accumulate\nlayer digits.conv2" in text
    assert pressed(browser) == {"accumulate", "KFC", "diagonal"}
    assert "of=layer+digits.conv2" in browser.current_url


def legend(browser):
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, ".role-legend-label text")]


def switch(browser, page, charts):
    browser.find_element(By.LINK_TEXT, page).click()
    wait = WebDriverWait(browser, PATIENCE)
    wait.until(lambda driver: driver.find_element(By.TAG_NAME, "h1").text == page)
    wait.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, CHART)) == charts)


def test_a_choice_goes_into_the_link(browser, address):
    visit(browser, address, "", 2)
    (exact,) = (button for button in browser.find_elements(By.CSS_SELECTOR, CHOICES) if button.text == "exact")
    exact.click()
    WebDriverWait(browser, PATIENCE).until(lambda driver: "approximation=" in driver.current_url)
    assert "exact" not in browser.current_url
    switch(browser, "Convergence", 1)
    assert legend(browser) == ["SGD", "KFC"]


def test_a_link_holds_on_the_other_page(browser, address):
    visit(browser, address, "", 2, approximation=["KFC", "exact"])
    switch(browser, "Convergence", 1)
    assert legend(browser) == ["KFC", "exact"]
    assert "approximation=KFC&approximation=exact" in browser.current_url
