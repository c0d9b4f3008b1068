"""``pytest --benchmark``: run the suites' bench files, which a plain ``pytest`` leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from kfc_bench.resources import share


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register ``--benchmark`` beside pytest-benchmark's own options."""
    parser.getgroup("benchmark").addoption(
        "--benchmark",
        action="store_true",
        dest="kfc_benchmark",
        help="Run benchmarks: with no path those of KFC Bench's suites alone, else bench_*.py files of the paths too.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect ``bench_*.py``, from the suites unless paths were given."""
    if not config.getoption("kfc_benchmark"):
        return
    config.addinivalue_line("python_files", "bench_*.py")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(share("suites"))]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add the device, the GPU and its driver; leave out the processor's clock of the moment, equal in no two runs."""
    if not config.getoption("kfc_benchmark"):
        return
    from kfc_bench.measure.environment import environment, resolve_device

    here = environment(resolve_device("auto"))
    machine_info |= {name: here[name] for name in ("device_kind", "device", "gpu", "driver")}
    for name in ("hz_actual", "hz_actual_friendly"):
        machine_info.get("cpu", {}).pop(name, None)
