"""``pytest --benchmark``: run the suites' bench files, which a plain ``pytest`` leaves alone."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kfc_bench.resources import share
from kfc_bench.results.bench_session import NODE_ID


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have each test's node id written to ``--junitxml``'s file."""
    if config.getoption("kfc_benchmark"):
        for item in items:
            item.user_properties.append((NODE_ID, item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add the device, the GPU and its driver; leave out the processor's clock of the moment, equal in no two runs."""
    if not config.getoption("kfc_benchmark"):
        return
    machine_info |= _device() if "torch" in sys.modules else _device_without_torch()
    for name in ("hz_actual", "hz_actual_friendly"):
        machine_info.get("cpu", {}).pop(name, None)


def _device() -> dict[str, Any]:
    from kfc_bench.measure.environment import environment, resolve_device

    here = environment(resolve_device("auto"))
    return {name: here[name] for name in ("device_kind", "device", "gpu", "driver", "torch")}


def _device_without_torch() -> dict[str, Any]:
    """Describe the first GPU, or the processor, without the seconds that importing torch takes."""
    import pynvml

    from kfc_bench.measure.sources import cpu_name

    try:
        pynvml.nvmlInit()
        gpu = {"name": pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))}
        driver = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return {"device_kind": None, "device": cpu_name(), "gpu": None, "driver": None, "torch": None}
    return {"device_kind": None, "device": gpu["name"], "gpu": gpu, "driver": driver, "torch": None}


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add which files packages and modules were imported from: what was measured."""
    if not config.getoption("kfc_benchmark"):
        return
    output_json["imported"] = {
        name: module.__file__
        for name, module in list(sys.modules.items())
        if "." not in name and name not in {"__main__", *sys.stdlib_module_names} and getattr(module, "__file__", None)
    }
