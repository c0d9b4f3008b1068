import dataclasses
import functools
import importlib
import json

import pytest
import torch

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.experiments.cost import COST
from kfc_bench.experiments.cost import measurement as module
from kfc_bench.experiments.cost.case import LAYER_PHASES
from kfc_bench.experiments.cost.measurement import (
    LONGEST_WARMUP_S,
    WARMUP_S,
    WARMUP_SAMPLES,
    CostMeasurement,
    Declined,
    open_case,
)
from kfc_bench.experiments.cost.work import work
from kfc_bench.experiments.cost.workloads import SGD_VARIANTS, build
from kfc_bench.measure.ceilings import Ceilings
from kfc_bench.measure.telemetry import Reading
from kfc_bench.measure.throttle import RETRIES, Watch
from kfc_kernels import ConvGeometry, UnsupportedError
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.damped_inverse import NotInvertibleError
from kfc_kernels.damped_inverse.attempt import Attempt
from tests.experiments.cost_cases import GROUPED, PLAIN, cost_case, journalled
from tests.measure.fakes import FakeTelemetry

CONTESTANTS = ["sgd", *(name for name in APPROXIMATIONS if name != "identity")]
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
    "warmup_s",
    "peak_memory_bytes",
    "peak_rss_bytes",
)
WORKED = (
    *("flops_algorithm", "flops_minimal", "bytes_minimal", "ceiling_flops_per_s", "ceiling_bytes_per_s"),
    *("percent_of_limit", "suspect"),
)
OF_A_GPU = ("throttled_visits", "launch_hidden", "energy_j", "sm_clock_mhz", "temperature_c", "power_w", "compile_s")


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


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # of torch.func.jvp, its own
def test_a_clipped_step_passes_its_gate_and_is_clipped():
    case = cost_case(approximation="kfc", phase="step", network="digits_small", clip=1e-9)
    assert opened(case).gate.passed
    clipped, free = (
        build(one, dtype=torch.float64, implementation="reference").once()
        for one in (case, dataclasses.replace(case, clip=None))
    )
    shrunk = [float(one.norm() / other.norm()) for one, other in zip(clipped, free, strict=True)]
    assert max(shrunk) < 0.1
    assert shrunk == pytest.approx([shrunk[0]] * len(shrunk))


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
    assert all(record[name] is None for name in OF_A_GPU)
    assert record["visits"] == 6
    assert record["rel_error"] <= record["error_gate"]
    assert json.loads(json.dumps(record)) == record


NO_BIAS = ConvGeometry.conv(3, 4, (6, 5), 3)
WITH_HOST = [
    (cost_case(approximation="kfc", phase="step", network="digits_small"), True),
    (cost_case(approximation="sgd", phase="step", network="digits_small"), True),
    (
        cost_case(operator="input_factor", implementation="kfc_bench_api", geometry=NO_BIAS),
        True,
    ),
    (cost_case(operator="input_factor", implementation="unfold_matmul", geometry=NO_BIAS), False),
    (cost_case(operator="precondition"), False),
    (cost_case(approximation="kfc", phase="refresh"), False),
]


@pytest.mark.parametrize(("case", "with_host"), WITH_HOST, ids=lambda value: getattr(value, "label", ""))
def test_the_host_s_time_is_a_part_of_steps_and_whole_passes_alone(monkeypatch, case, with_host):
    asked = []
    ours = module.clock_for
    monkeypatch.setattr(module, "clock_for", lambda *how, held: asked.append(held) or ours(*how, held=held))
    opened(case)
    assert asked == [not with_host]


def test_a_cpu_s_caches_are_not_cold():
    with pytest.raises(UnsupportedError, match="never cold"):
        open_case(cost_case(operator="input_factor", cache="cold"))


def test_the_sgd_step_names_its_variant():
    record = finished(cost_case(approximation="sgd", phase="step", network="digits_small"))
    assert record["implementation"] in [name for name, *_ in SGD_VARIANTS]


def wrong_in_float32(monkeypatch, operator):
    """Let all of an operator's implementations in torch operations be a thousandth off, in float32 only."""

    def off(value):
        if isinstance(value, Attempt):
            return value._replace(inverses=off(value.inverses))
        return (
            [off(tensor) for tensor in value]
            if isinstance(value, list)
            else value.mul_(1.001 if value.dtype == torch.float32 else 1)
        )

    for entry in OPERATORS[operator].table:
        if not entry.name.startswith("triton_"):
            module = importlib.import_module(entry.module)
            right = getattr(module, entry.function)
            monkeypatch.setattr(
                module, entry.function, lambda *args, right=right, **options: off(right(*args, **options))
            )


WRONG = [
    *((operator, {"operator": operator}) for operator in OPERATORS),
    ("input_factor", {"approximation": "kfc", "phase": "accumulate"}),
    ("damped_inverse", {"approximation": "kfc", "phase": "refresh"}),
    ("precondition", {"approximation": "kfc", "phase": "precondition"}),
    ("diagonal_fisher", {"approximation": "diagonal", "phase": "accumulate"}),
    ("precondition_dense", {"approximation": "block_diagonal", "phase": "precondition"}),
    ("exact_fisher", {"approximation": "exact", "phase": "accumulate"}),
    ("eigenvalue_correction", {"approximation": "ekfac", "phase": "accumulate"}),
    ("precondition_diagonal", {"approximation": "kfc_eigen", "phase": "precondition"}),
    ("damped_inverse", {"approximation": "sua", "phase": "refresh"}),
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
    (NotInvertibleError("matrix 0"), "crashed"),
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
# Pairs of pixels at the 12 lags beside lag 0, whose products of channels are symmetric: by rows of lags.
PAIRS = 6 * (4 + 3) + 5 * (3 + 4 + 5 + 4 + 3) + 4 * (3 + 4 + 5 + 4 + 3)
WORK = {
    ("kfc", "accumulate"): (
        2 * N * T * (D**2 + K**2),
        N * (T * 3 * 4 + PAIRS * 2 * 3**2 + T * K * (K + 1)),
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
    ("kfc_reduce", "accumulate"): (
        N * T * D + N * K * T + 2 * N * (D**2 + K**2),
        INPUTS + N * K * T + N * (D * (D + 1) + K * (K + 1)),
        INPUTS + D**2 + GRADIENTS + K**2,
    ),
    ("kfc_reduce", "refresh"): (D**3 + K**3, D**3 + K**3, 2 * (D**2 + K**2)),
    ("kfc_eigen", "refresh"): (
        9 * (D**3 + K**3) + K * D,
        10 / 3 * (D**3 + K**3) + K * D,
        2 * (D**2 + K**2) + D + K + K * D,
    ),
    ("kfc_eigen", "precondition"): (
        4 * K * D * (K + D) + 2 * K * D,
        4 * K * D * (K + D) + 2 * K * D,
        3 * K * D + D**2 + K**2,
    ),
    ("ekfac", "accumulate"): (
        2 * N * T * (D**2 + K**2) + FORM + 2 * N * K * D * (K + D) + 2 * N * K * D,
        N * (T * 3 * 4 + PAIRS * 2 * 3**2 + T * K * (K + 1)) + FORM + 2 * N * (K**2 * D + D**2 * K) + 2 * N * K * D,
        INPUTS + D**2 + GRADIENTS + K**2 + K * D,
    ),
    ("ekfac", "refresh"): (
        9 * (D**3 + K**3) + 2 * (D**3 + K**3) + D**2 + K**2 + 2 * K * D * (K + D),
        10 / 3 * (D**3 + K**3) + 2 * (D**3 + K**3) + D**2 + K**2 + 2 * K * D * (K + D),
        3 * (D**2 + K**2) + D + K + 2 * K * D,
    ),
    # Factors of the 3 channels and the coordinate 1; the kernel has 9 elements.
    ("sua", "accumulate"): (
        2 * N * T * (4**2 + K**2),
        N * T * (3 * 4 + K * (K + 1)),
        INPUTS + 4**2 + GRADIENTS + K**2,
    ),
    ("sua", "refresh"): (4**3 + 3**3 + K**3, 4**3 + 3**3 + K**3, 2 * (4**2 + 3**2 + K**2)),
    ("sua", "precondition"): (
        2 * K * (4**2 + 9 * 3**2) + 2 * K**2 * (4 + 9 * 3) + 3 * K * 27,
        2 * K * (4**2 + 8 * 3**2) + 2 * K**2 * (4 + 8 * 3),
        2 * K * D + 4**2 + 3**2 + K**2,
    ),
    ("prong", "accumulate"): (2 * N * T * 4**2, N * T * 3 * 4, INPUTS + 4**2),
    ("prong", "refresh"): (4**3 + 3**3, 4**3 + 3**3, 2 * (4**2 + 3**2)),
    ("prong", "precondition"): (
        2 * K * (4**2 + 9 * 3**2) + 3 * K * 27,
        2 * K * (4**2 + 8 * 3**2),
        2 * K * D + 4**2 + 3**2,
    ),
    ("mini_block", "accumulate"): (
        FORM + K * 3 * 2 * N * 9**2 + 2 * N * K,
        FORM + K * 3 * N * 9 * 10 + 2 * N * K,
        INPUTS + GRADIENTS + K * 3 * 9**2 + K,
    ),
    ("mini_block", "refresh"): (K * 3 * 9**3, K * 3 * 9**3, 2 * K * 3 * 9**2),
    ("mini_block", "precondition"): (
        2 * K * 3 * 9**2 + 2 * K,
        2 * K * 3 * 9**2 + 2 * K,
        2 * K * D + K * 3 * 9**2 + K,
    ),
    ("exact", "precondition"): (2 * (K * D) ** 2, 2 * (K * D) ** 2, 2 * K * D + (K * D) ** 2),
    ("exact", "refresh"): ((K * D) ** 3, (K * D) ** 3, 2 * (K * D) ** 2),
    ("sgd", "accumulate"): (0, 0, 0),
}


@pytest.mark.parametrize(("approximation", "phase"), WORK)
def test_work_by_hand(approximation, phase):
    cost = work(cost_case(approximation=approximation, phase=phase))
    algorithm, minimal, elements = WORK[approximation, phase]
    assert (cost.flops_algorithm, cost.flops_minimal) == pytest.approx((algorithm, minimal))
    assert cost.bytes_minimal == 4 * elements


@pytest.mark.parametrize("phase", LAYER_PHASES)
@pytest.mark.parametrize("approximation", CONTESTANTS)
@every_geometry
def test_the_least_work_is_no_more_than_what_runs(approximation, phase, geometry):
    cost = work(cost_case(approximation=approximation, phase=phase, geometry=geometry))
    assert cost.flops_minimal <= cost.flops_algorithm
    assert (cost.flops_minimal > 0) == (cost.bytes_minimal > 0)


def test_a_step_has_no_cost_model():
    assert work(cost_case(approximation="kfc", phase="step", network="digits")) is None


class FakeClock:
    """Every sample takes so long, and no longer to take than a call of it."""

    def __init__(self, seconds=1e-3, launch_hidden=True):
        self.seconds, self.launch_hidden, self.samples = seconds, launch_hidden, 0

    def sample(self, run):
        run()
        self.samples += 1
        return self.seconds

    def synchronize(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock; warming up takes one sample of it."""
    fake = FakeClock()
    monkeypatch.setattr(module, "clock_for", lambda *_, **__: fake)
    monkeypatch.setattr(module, "_warm_up", lambda *_: 0.25)
    return fake


def telemetry(monkeypatch, **values):
    fake = FakeTelemetry(**values)
    monkeypatch.setattr(module, "telemetry_for", lambda _: fake)
    monkeypatch.setattr(module, "Watch", functools.partial(Watch, sleep=lambda _: None))
    return fake


def ceilings_in_turn(monkeypatch, *series):
    """Let the ceilings be the first, and the next each time they are measured anew; return what's left."""
    left = list(series)
    monkeypatch.setattr(module, "measured_ceilings", lambda *_: left[0])
    monkeypatch.setattr(module, "remeasured_ceilings", lambda *_: left.pop(0))
    return left


OPERATOR = cost_case(operator="input_factor")
FLOPS = work(OPERATOR).flops_minimal
UNDER = Ceilings(0.8 * FLOPS / 1e-3, 1e99)
CLOSE = Ceilings(FLOPS / 1.05e-3, 1e99)
"""Floors of 1.25 ms and 1.05 ms, under which a sample of 1 ms is and is not suspect."""


def test_every_visit_adds_one_or_begins_the_second_series(monkeypatch, clock):
    ceilings_in_turn(monkeypatch, UNDER, UNDER)
    measurement = opened(OPERATOR)
    counts = []
    for _ in range(15):
        clock.seconds *= 0.999
        measurement.visit()
        counts.append(len(measurement.visit_medians))
        assert measurement.visit_medians[-1] == clock.seconds
    assert counts == [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_what_stays_faster_than_the_roofline_is_timed_again_and_suspect(monkeypatch, clock):
    left = ceilings_in_turn(monkeypatch, UNDER, UNDER)
    record = finished(OPERATOR)
    assert left == [UNDER]
    assert record["suspect"] is True
    assert record["percent_of_limit"] == pytest.approx(125)
    assert record["ceiling_flops_per_s"] == UNDER.flops_per_s
    assert (record["visits"], record["samples"]) == (6, clock.samples // 2)


def test_the_second_series_stands(monkeypatch, clock):
    ceilings_in_turn(monkeypatch, UNDER, UNDER)
    measurement = opened(OPERATOR)
    while measurement.visits.stop_reason is None:
        assert measurement.visit()
        assert measurement.visit_medians[-1] == 1e-3
    clock.seconds = 2e-3
    assert measurement.visit()
    assert measurement.visit_medians == [2e-3]
    while measurement.visit():
        pass
    record = measurement.record()
    assert record["suspect"] is False
    assert record["time_median_s"] == 2e-3
    assert record["visits"] == 6


def test_higher_ceilings_acquit(monkeypatch, clock):
    ceilings_in_turn(monkeypatch, UNDER, CLOSE)
    record = finished(OPERATOR)
    assert record["suspect"] is False
    assert record["percent_of_limit"] == pytest.approx(105)
    assert record["samples"] == clock.samples // 2


def test_what_is_slow_enough_is_timed_once(monkeypatch, clock):
    left = ceilings_in_turn(monkeypatch, CLOSE, UNDER)
    record = finished(OPERATOR)
    assert left == [CLOSE, UNDER]
    assert (record["suspect"], record["samples"]) == (False, clock.samples)


HOT = Reading(1200.0, 1980.0, 90.0, 400.0, frozenset({"hardware thermal slowdown"}))
COOL = Reading(1900.0, 1980.0, 60.0, 350.0, frozenset())


@pytest.mark.usefixtures("clock")
def test_throttled_visits_are_taken_again_and_counted(monkeypatch):
    telemetry(monkeypatch, readings=[COOL, HOT, COOL, COOL, HOT, COOL, COOL])
    record = finished(OPERATOR)
    assert (record["visits"], record["throttled_visits"]) == (6, 2)
    assert "reason" not in record
    assert (record["sm_clock_mhz"], record["temperature_c"], record["power_w"]) == (1900.0, 60.0, 350.0)


@pytest.mark.usefixtures("clock")
def test_a_device_that_always_throttles_still_gets_a_time(monkeypatch):
    telemetry(monkeypatch, readings=[HOT])
    record = finished(cost_case(operator="input_factor", timeout_s=120.0))
    assert (record["status"], record["visits"], record["throttled_visits"]) == ("ok", 6, RETRIES + 6)
    assert record["time_median_s"] == 1e-3
    assert record["reason"] == "6 of 6 visits count though the GPU throttled: hardware thermal slowdown"


def test_a_case_sleeps_no_longer_than_its_timeout_allows():
    assert opened(cost_case(operator="input_factor", timeout_s=2.0)).watch.patience_s == 0.5


@pytest.mark.parametrize("hidden", [True, False])
def test_the_record_says_whether_launches_are_hidden(clock, hidden):
    clock.launch_hidden = hidden
    record = finished(OPERATOR)
    assert record["launch_hidden"] is hidden
    assert record["warmup_s"] == 0.25


def test_energy_is_weighted_as_time_is(monkeypatch, clock):
    case = cost_case(approximation="kfc", phase="step", network="digits_small", energy=True)
    joules = {}
    sensors = telemetry(monkeypatch, watts=1.0)

    def measured(run, device, wait):
        assert (device, wait) == (sensors, clock.synchronize)
        return joules.setdefault(run, 10.0 ** len(joules))

    monkeypatch.setattr(module, "joules_per_call", measured)
    measurement = opened(case)
    while measurement.visit():
        pass
    parts = measurement.workload.parts
    assert measurement.record()["energy_j"] == sum(weight * 10.0**index for index, (weight, _) in enumerate(parts))


@pytest.mark.usefixtures("clock")
def test_energy_is_measured_where_it_is_asked_for_and_counted(monkeypatch):
    telemetry(monkeypatch, watts=1.0)
    monkeypatch.setattr(module, "joules_per_call", lambda *_: None)
    assert finished(cost_case(operator="input_factor", energy=True))["energy_j"] is None
    monkeypatch.setattr(module, "joules_per_call", lambda *_: pytest.fail("not asked for"))
    assert finished(OPERATOR)["energy_j"] is None


@pytest.mark.parametrize(
    ("seconds", "samples"),
    [(WARMUP_S / 10, 10), (WARMUP_S / 2, WARMUP_SAMPLES), (0.4, WARMUP_SAMPLES), (0.6, 2), (2 * LONGEST_WARMUP_S, 1)],
)
def test_warm_up_is_long_enough_and_no_longer(monkeypatch, seconds, samples):
    now, taken = [0.0], []

    class Workload:
        def sample(self, clock):
            taken.append(clock)
            now[0] += seconds * 1.0001

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    assert module._warm_up(Workload(), "clock") == pytest.approx(samples * seconds, rel=1e-3)
    assert taken == ["clock"] * samples


@pytest.mark.usefixtures("clock")
def test_compiling_is_the_first_call_beyond_the_second(monkeypatch):
    durations = [5.0, 2.0]
    timed = module._timed

    def slow_first(run, clock):
        return durations.pop(0), timed(run, clock)[1]

    def named(case, **options):
        return dataclasses.replace(build(case, **options), implementation="triton_of_a_kind")

    monkeypatch.setattr(module, "_timed", slow_first)
    monkeypatch.setattr(module, "build", named)
    assert finished(OPERATOR)["compile_s"] == 3.0
    assert durations == []
