import importlib
import json

import pytest
import torch

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.experiments.cost import COST
from kfc_bench.experiments.cost.case import PHASES
from kfc_bench.experiments.cost.measurement import CostMeasurement, Declined, open_case
from kfc_bench.experiments.cost.work import work
from kfc_bench.experiments.cost.workloads import SGD_VARIANTS, build
from kfc_bench.measure.ceilings import Ceilings
from kfc_kernels import ConvGeometry, UnsupportedError
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.damped_inverse import NotPositiveDefiniteError
from tests.experiments.cost_cases import GROUPED, PLAIN, cost_case, journalled

CONTESTANTS = ["sgd", *(name for name in APPROXIMATIONS if name != "identity")]
LAYER_PHASES = [phase for phase in PHASES if phase != "step"]
every_geometry = pytest.mark.parametrize("geometry", [PLAIN, GROUPED], ids=["plain", "groups"])
MEASURED = (
    "implementation",
    "rel_error",
    "error_gate",
    "time_median_s",
    "time_ci_low_s",
    "time_ci_high_s",
    "visits",
    "samples",
    "stop_reason",
    "peak_memory_bytes",
    "peak_rss_bytes",
)
WORKED = ("flops_algorithm", "flops_minimal", "bytes_minimal", "percent_of_limit", "suspect")


def opened(case):
    measurement = open_case(case)
    reason = measurement.record() if isinstance(measurement, Declined) else None
    assert isinstance(measurement, CostMeasurement), reason
    return measurement


def finished(case):
    measurement = opened(case)
    while measurement.visit():
        pass
    return journalled(case, measurement.record())


@every_geometry
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_passes_its_gate(operator, geometry):
    gate = opened(cost_case(operator=operator, geometry=geometry)).gate
    assert gate.passed
    assert gate.limit < 1e-3


@every_geometry
@pytest.mark.parametrize("phase", LAYER_PHASES)
@pytest.mark.parametrize("approximation", CONTESTANTS)
def test_every_phase_passes_its_gate(approximation, phase, geometry):
    assert opened(cost_case(approximation=approximation, phase=phase, geometry=geometry)).gate.passed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("approximation", CONTESTANTS)
def test_every_step_passes_its_gate(approximation, dtype):
    case = cost_case(approximation=approximation, phase="step", network="digits_small", dtype=dtype)
    assert opened(case).gate.passed


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("operator", ["input_factor", "diagonal_fisher"])
def test_operators_pass_in_half_precision(operator, precision):
    assert opened(cost_case(operator=operator, precision=precision)).gate.passed


RECORDS = [
    cost_case(operator="input_factor"),
    *(cost_case(approximation="kfc", phase=phase) for phase in LAYER_PHASES),
    cost_case(approximation="diagonal", phase="refresh"),
    cost_case(approximation="sgd", phase="accumulate"),
    cost_case(approximation="kfc", phase="step", network="digits_small"),
    cost_case(approximation="sgd", phase="step", network="digits_small"),
]


@pytest.mark.parametrize("case", RECORDS, ids=lambda case: case.label)
def test_a_finished_record_has_every_column(case):
    record = finished(case)
    assert record["status"] == "ok"
    assert all(record[name] is not None for name in MEASURED)
    assert all((record[name] is not None) if case.phase != "step" else (name not in record) for name in WORKED)
    assert record["time_ci_low_s"] <= record["time_median_s"] <= record["time_ci_high_s"]
    assert record["visits"] == 6
    assert record["rel_error"] <= record["error_gate"]
    assert json.loads(json.dumps(record)) == record


def test_the_sgd_step_names_its_variant():
    record = finished(cost_case(approximation="sgd", phase="step", network="digits_small"))
    assert record["implementation"] in [name for name, *_ in SGD_VARIANTS]


def wrong_in_float32(monkeypatch, operator):
    """Let an operator's reference be a thousandth off, in float32 only."""
    (entry,) = [entry for entry in OPERATORS[operator].table if entry.name == "reference"]
    module = importlib.import_module(entry.module)
    right = getattr(module, entry.function)

    def off(value):
        return (
            [off(tensor) for tensor in value]
            if isinstance(value, list)
            else value.mul_(1.001 if value.dtype == torch.float32 else 1)
        )

    monkeypatch.setattr(module, entry.function, lambda *arguments, **options: off(right(*arguments, **options)))


WRONG = [
    *((operator, {"operator": operator}) for operator in OPERATORS),
    ("input_factor", {"approximation": "kfc", "phase": "accumulate"}),
    ("damped_inverse", {"approximation": "kfc", "phase": "refresh"}),
    ("precondition", {"approximation": "kfc", "phase": "precondition"}),
    ("diagonal_fisher", {"approximation": "diagonal", "phase": "accumulate"}),
    ("precondition_dense", {"approximation": "block_diagonal", "phase": "precondition"}),
    ("exact_fisher", {"approximation": "exact", "phase": "accumulate"}),
    ("precondition", {"approximation": "kfc", "phase": "step", "network": "digits_small"}),
    ("damped_inverse", {"approximation": "block_diagonal", "phase": "step", "network": "digits_small"}),
    ("diagonal_fisher", {"approximation": "diagonal", "phase": "step", "network": "digits_small"}),
]


@pytest.mark.parametrize(
    ("operator", "values"), WRONG, ids=lambda value: value if isinstance(value, str) else "-".join(value.values())
)
def test_a_wrong_result_is_not_timed(monkeypatch, operator, values):
    wrong_in_float32(monkeypatch, operator)
    case = cost_case(**values)
    measurement = open_case(case)
    assert not measurement.visit()
    record = journalled(case, measurement.record())
    assert record["status"] == "wrong"
    assert "against float64" in record["reason"]
    assert record["rel_error"] > record["error_gate"]
    assert not any(name.startswith("time_") for name in record)


def test_a_step_is_the_mean_over_its_cycle_of_periods():
    case = cost_case(approximation="kfc", phase="step", network="digits_small", statistics_every=2, inverses_every=4)
    weights = [weight for weight, _ in build(case, dtype=torch.float32, implementation="auto").parts]
    assert sorted(weights) == [0.25, 0.25, 0.5]


CLASSIFIED = [
    (MemoryError("no"), "oom"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom"),
    (UnsupportedError("input_factor: triton_implicit_gemm needs a CUDA device"), "unsupported"),
    (NotPositiveDefiniteError("matrix 0"), "crashed"),
    (RuntimeError("two\nlines"), "crashed"),
]


@pytest.mark.parametrize(("error", "status"), CLASSIFIED, ids=repr)
def test_classify(error, status):
    found, reason = COST.classify(error)
    assert found == status
    assert "\n" not in reason
    assert len(reason) <= 300


def test_an_implementation_that_declines():
    case = cost_case(operator="input_factor", implementation="triton_implicit_gemm", dtype="float64")
    with pytest.raises(UnsupportedError, match="input_factor: triton_implicit_gemm"):
        open_case(case)


# One layer by hand: 3 -> 4 channels on 6x5 maps, 3x3 with padding and a bias: D = 28, |T| = 30, N = 8.
N, T, K, D = 8, 30, 4, 28
INPUTS, GRADIENTS, FORM = N * 3 * 30, N * K * T, 2 * N * T * K * D
WORK = {
    ("kfc", "accumulate"): (
        2 * N * T * (D**2 + K**2),
        N * T * (D * (D + 1) + K * (K + 1)),
        INPUTS + D**2 + GRADIENTS + K**2,
    ),
    ("kfc", "refresh"): (D**3 + K**3, D**3 + K**3, 2 * (D**2 + K**2)),
    ("kfc", "precondition"): (2 * K * D * (K + D), 2 * K * D * (K + D), 2 * K * D + D**2 + K**2),
    ("diagonal", "accumulate"): (FORM + 2 * N * K * D, FORM + 2 * N * K * D, INPUTS + GRADIENTS + K * D),
    ("diagonal", "refresh"): (0, 0, 0),
    ("diagonal", "precondition"): (2 * K * D, 2 * K * D, 3 * K * D),
    ("block_diagonal", "accumulate"): (
        FORM + 2 * N * (K * D) ** 2,
        FORM + N * K * D * (K * D + 1),
        INPUTS + GRADIENTS + (K * D) ** 2,
    ),
    ("block_diagonal", "refresh"): ((K * D) ** 3, (K * D) ** 3, 2 * (K * D) ** 2),
    ("exact", "precondition"): (2 * (K * D) ** 2, 2 * (K * D) ** 2, 2 * K * D + (K * D) ** 2),
    ("exact", "refresh"): ((K * D) ** 3, (K * D) ** 3, 2 * (K * D) ** 2),
    ("sgd", "accumulate"): (0, 0, 0),
}


@pytest.mark.parametrize(("approximation", "phase"), WORK)
def test_work_by_hand(approximation, phase):
    cost = work(cost_case(approximation=approximation, phase=phase))
    algorithm, minimal, elements = WORK[approximation, phase]
    assert (cost.flops_algorithm, cost.flops_minimal, cost.bytes_minimal) == (algorithm, minimal, 4 * elements)


def test_a_step_has_no_cost_model():
    assert work(cost_case(approximation="kfc", phase="step", network="digits")) is None


def test_what_is_faster_than_the_roofline_is_suspect(monkeypatch):
    case = cost_case(operator="input_factor", geometry=ConvGeometry.conv(3, 4, (6, 5), 3, padding=1, bias=True))
    monkeypatch.setattr("kfc_bench.experiments.cost.measurement.measured_ceilings", lambda *_: Ceilings(1.0, 1.0))
    record = finished(case)
    assert record["suspect"] is True
    assert record["percent_of_limit"] > 110
