import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import kfc_kernels
from kfc_kernels import ConvGeometry, UnsupportedError
from kfc_kernels.catalogue import OPERATORS, implementations
from kfc_kernels.dispatch import Case, Implementation, Operator

PLANE = ConvGeometry.conv(2, 3, (5, 5), 3)
POINT = ConvGeometry.linear(2, 3)
VOLUME = ConvGeometry.conv(2, 3, (5, 5, 5), 3)


@pytest.fixture
def compiled():
    """Triton without its interpreter, whatever the environment says."""
    triton = pytest.importorskip("triton")
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        yield


@pytest.fixture
def interpreted():
    triton = pytest.importorskip("triton")
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = True
        yield


def cpu(geometry=PLANE, dtype=torch.float32):
    return Case(geometry, dtype, torch.device("cpu"))


@pytest.mark.parametrize("name", OPERATORS)
def test_unknown_implementations_are_refused(name):
    operator = OPERATORS[name]
    known = ", ".join(entry.name for entry in operator.table)
    with pytest.raises(UnsupportedError, match=f"{name} has no implementation 'magic'; there are: auto, {known}"):
        operator.choose("magic", cpu())


def test_a_call_with_an_unknown_implementation_is_refused():
    with pytest.raises(UnsupportedError, match="input_factor has no implementation 'magic'"):
        kfc_kernels.input_factor(torch.ones(1, 2, 5, 5), PLANE, implementation="magic")


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_its_reference(name):
    entries = {entry.name: entry for entry in OPERATORS[name].table}
    dtype = torch.float32 if name == "damped_inverse" else torch.float16
    assert entries["reference"].declines(cpu(VOLUME, dtype)) is None
    assert callable(entries["reference"].load())
    assert callable(getattr(kfc_kernels, name))


FOR_POINTS = {("diagonal_fisher", "triton_squares"), ("mini_block_fisher", "triton_gradients")}


def taken(name, implementation):
    """A layer that an implementation takes."""
    return POINT if (name, implementation) in FOR_POINTS else PLANE


TRITON = [(name, entry.name) for name in OPERATORS for entry in OPERATORS[name].table if "triton" in entry.name]


@pytest.mark.parametrize(("name", "implementation"), TRITON)
@pytest.mark.usefixtures("compiled")
def test_triton_declines_the_cpu(name, implementation):
    with pytest.raises(UnsupportedError, match=rf"{name}: {implementation} needs a CUDA device .*, not cpu"):
        OPERATORS[name].choose(implementation, cpu(taken(name, implementation)))


@pytest.mark.parametrize(("name", "implementation"), TRITON)
@pytest.mark.usefixtures("compiled")
def test_triton_takes_a_cuda_device(name, implementation):
    assert implementation in implementations(name, taken(name, implementation), torch.bfloat16, "cuda")


@pytest.mark.parametrize(("name", "implementation"), TRITON)
@pytest.mark.usefixtures("interpreted")
def test_interpreted_triton_takes_the_cpu_but_no_bfloat16(name, implementation):
    assert implementation in implementations(name, taken(name, implementation))
    assert implementation not in implementations(name, taken(name, implementation), torch.bfloat16)


@pytest.mark.usefixtures("compiled")
def test_gathering_kernels_decline_three_axes():
    with pytest.raises(
        UnsupportedError, match="input_factor: triton_implicit_gemm takes at most 2 spatial axes, not 3"
    ):
        OPERATORS["input_factor"].choose("triton_implicit_gemm", Case(VOLUME, torch.float32, torch.device("cuda")))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.usefixtures("compiled")
def test_the_cpu_has_what_is_not_triton(name):
    accepting = implementations(name, PLANE)
    on_cuda = implementations(name, PLANE, device="cuda")
    assert "reference" in accepting
    of_the_cpu = {"chunked"} if name == "precondition_diagonal" else set()
    assert set(accepting) == {entry for entry in on_cuda if "triton" not in entry} | of_the_cpu


def test_implementations_of_no_operator():
    with pytest.raises(KeyError, match="magic"):
        implementations("magic")


def test_auto_takes_the_first_that_accepts():
    def declines(case):
        return "takes only 3 axes" if case.geometry.axes != 3 else None

    operator = Operator(
        "demo", (Implementation("cube", "math", "cbrt", declines), Implementation("any", "math", "sqrt"))
    )
    assert operator.choose("auto", cpu(VOLUME))(27.0) == pytest.approx(3)
    assert operator.choose("auto", cpu(PLANE))(25.0) == pytest.approx(5)
    assert operator.accepting(cpu(VOLUME)) == ["cube", "any"]
    with pytest.raises(UnsupportedError, match="demo: cube takes only 3 axes"):
        operator.choose("cube", cpu(PLANE))


IMPORTS = """
import importlib.util, sys
import torch
if importlib.util.find_spec("triton"):
    import triton
names = lambda: {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
before = names()
import kfc_kernels.catalogue
print(*sorted(names() - before))
print(*sorted(name for name in sys.modules if name.startswith("kfc_kernels") and "triton" in name))
"""


def test_importing_loads_only_torch_and_triton():
    environment = os.environ | {"PYTHONPATH": str(Path(kfc_kernels.__file__).parents[1])}
    shell = subprocess.run(
        [sys.executable, "-c", IMPORTS], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert shell.stdout.splitlines() == ["kfc_kernels", ""]
