from __future__ import annotations

import sys

import pytest

from kfc_bench.resources import share
from tests.dashboard.folders import write_run

pytest.importorskip("streamlit", reason="the dashboard needs streamlit: pip install 'kfc-bench[dashboard]'")

# As streamlit does for the script it runs.
sys.path.insert(0, str(share("dashboard")))


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("results"))


@pytest.fixture
def open_page(monkeypatch):
    """Return a function that opens the dashboard over folders, as ``streamlit run app.py -- FOLDER ...`` does."""
    from streamlit.testing.v1 import AppTest

    def open_page(*folders, page="cost", **query):
        monkeypatch.setattr(sys, "argv", ["app.py", *(str(folder) for folder in folders)])
        # AppTest makes the app the main module; processes that later tests spawn would run it.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        app = AppTest.from_file(str(share("dashboard") / "app.py"), default_timeout=30)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        return app.switch_page(f"app_pages/{page}.py").run() if page != "cost" else app

    return open_page
