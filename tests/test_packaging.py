"""The wheel and the source distribution, built and used away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*command, str(distributions[0])], check=True, capture_output=True, timeout=120)
    return folder


def test_the_wheel_installs_no_bare_top_level_name_but_the_two_packages(distributions):
    names = zipfile.ZipFile(distributions[0]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kfc_bench", "kfc_kernels"}


@pytest.mark.parametrize(
    "name",
    [
        "kfc_bench/share/suites/quickstart.toml",
        "kfc_bench/share/suites/bench_cost.py",
        "kfc_bench/share/dashboard/app.py",
        "kfc_bench/problems/digits.csv.gz",
        "kfc_bench/share/results/audit/audit.csv",
    ],
)
def test_the_wheel_carries(distributions, name):
    assert name in zipfile.ZipFile(distributions[0]).namelist()


def test_the_wheel_carries_a_sample_of_results(distributions):
    names = zipfile.ZipFile(distributions[0]).namelist()
    assert any(name.startswith("kfc_bench/share/results/") and name.endswith("journal.jsonl") for name in names)


def test_the_source_distribution_carries_what_builds_and_tests(distributions):
    with tarfile.open(distributions[1]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "kernels/kfc_kernels/__init__.py"} <= names
    assert "tests/test_packaging.py" in names


def test_a_suite_runs_from_the_wheel(installed, tmp_path):
    def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, "-m", "kfc_bench.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)

    where = "import kfc_bench, kfc_kernels; print(kfc_bench.__file__, kfc_kernels.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    answer = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.stdout.count(str(installed)) == 2

    answer = command_line("run", "quickstart", "--filter", "layer=digits.conv2", "--filter", "approximation=diagonal")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert (tmp_path / "results" / "quickstart" / "cost.csv").is_file()
