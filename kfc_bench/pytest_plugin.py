"""``pytest --benchmark``: run the suites' bench files, which a plain ``pytest`` leaves alone."""

from __future__ import annotations

import pytest

from kfc_bench.resources import share


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register ``--benchmark`` beside pytest-benchmark's own options."""
    parser.getgroup("benchmark").addoption(
        "--benchmark",
        action="store_true",
        dest="kfc_benchmark",
        help="Run benchmarks: with no path those of KFC Bench's suites, else the bench_*.py files of the paths given.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect ``bench_*.py``, from the suites unless paths were given."""
    if not config.getoption("kfc_benchmark"):
        return
    config.addinivalue_line("python_files", "bench_*.py")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(share("suites"))]
