"""What is not tried, and why; nothing of it may be built."""

import time

import pytest
import torch

from kfc_bench.experiments.cost.measurement import Declined, open_case
from kfc_bench.experiments.cost.prediction import predicted_bytes, predicted_seconds
from kfc_bench.measure.ceilings import Ceilings
from kfc_bench.measure.memory import peak_memory
from kfc_kernels import ConvGeometry
from kfc_kernels.catalogue import OPERATORS
from tests.experiments.cost_cases import cost_case, journalled

CEILINGS = "kfc_bench.experiments.cost.prediction.measured_ceilings"
HUGE = ConvGeometry.conv(512, 512, (56, 56), 1)
GIB = 2**30


def declined(case):
    measurement = open_case(case)
    assert isinstance(measurement, Declined)
    assert not measurement.visit()
    return journalled(case, measurement.record())


def test_what_would_not_fit_is_not_tried():
    case = cost_case(approximation="exact", phase="refresh", memory_limit_bytes=1000)
    record = declined(case)
    assert record["status"] == "unsupported"
    assert record["predicted_bytes"] == predicted_bytes(case) > 1000
    assert "predicted to need" in record["reason"]


@pytest.mark.parametrize(
    "contestant",
    [
        *({"operator": operator} for operator in ("input_factor", "output_factor", "diagonal_fisher", "block_fisher")),
        *({"approximation": name, "phase": "accumulate"} for name in ("kfc", "diagonal", "sgd")),
        {"approximation": "diagonal", "phase": "precondition"},
    ],
    ids=lambda contestant: " ".join(contestant.values()),
)
def test_inputs_alone_can_be_too_much(contestant):
    """26 GB of activations: drawing them would take minutes and this machine's memory."""
    start = time.monotonic()
    record = declined(cost_case(**contestant, geometry=HUGE, batch=4096, memory_limit_bytes=16 * GIB))
    assert record["predicted_bytes"] >= 4 * 4096 * 512 * 56 * 56
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_count_operands_and_results(operator):
    case = cost_case(operator=operator, geometry=ConvGeometry.conv(4, 4, (14, 14), 3, padding=1), batch=16)
    assert predicted_bytes(case) >= open_case(case).workload.once()[0].numel() * 4


def test_an_input_factor_s_prediction_is_what_it_takes():
    geometry = ConvGeometry.conv(16, 16, (28, 28), 3, padding=1)
    case = cost_case(operator="input_factor", implementation="reference", geometry=geometry, batch=32)
    inputs = 4 * 32 * 16 * 28 * 28
    seen = inputs + peak_memory(open_case(case).workload.once, "cpu")[0].allocator_bytes
    assert seen / 1.5 <= predicted_bytes(case) <= 1.5 * seen


def test_a_step_with_type2_vectors_is_predicted_to_need_more():
    once, all_classes = (
        predicted_bytes(cost_case(approximation="diagonal", phase="step", network="digits", batch=64, fisher=fisher))
        for fisher in ("mc", "type2")
    )
    assert all_classes > 5 * once


SLOW = Ceilings(flops_per_s=1e6, bytes_per_s=1e6)


@pytest.mark.parametrize(
    "contestant", [{"operator": "input_factor"}, {"approximation": "kfc", "phase": "accumulate"}], ids=str
)
def test_what_would_take_too_long_is_not_tried(monkeypatch, contestant):
    monkeypatch.setattr(CEILINGS, lambda *_: SLOW)
    case = cost_case(**contestant, call_limit_s=0.25)
    record = declined(case)
    seconds = predicted_seconds(case)
    assert record["status"] == "unsupported"
    assert record["predicted_call_s"] == seconds > 0.25
    assert record["reason"] == f"predicted to take {seconds:.2g} s a call, the limit is 0.25 s"
    assert "predicted_bytes" not in record


def test_what_starts_from_a_slow_phase_is_not_tried(monkeypatch):
    case = cost_case(approximation="block_diagonal", phase="precondition", batch=1, call_limit_s=1.0)
    own, refresh, accumulate = (
        predicted_seconds(cost_case(approximation="block_diagonal", phase=phase, batch=1))
        for phase in ("precondition", "refresh", "accumulate")
    )
    assert own < accumulate < refresh
    record = declined(
        cost_case(approximation="block_diagonal", phase="precondition", batch=1, call_limit_s=refresh / 2)
    )
    assert record["reason"].startswith(f"starts from a refresh predicted to take {refresh:.2g} s a call")
    monkeypatch.setattr(CEILINGS, lambda *_: Ceilings(1e30, 1e30))
    assert not isinstance(open_case(case), Declined)


def test_time_is_flops_and_bytes_by_the_ceilings(monkeypatch):
    monkeypatch.setattr(CEILINGS, lambda *_: Ceilings(flops_per_s=1e9, bytes_per_s=1e8))
    case = cost_case(operator="precondition_diagonal", geometry=ConvGeometry.conv(4, 8, (6, 6), 3))
    assert predicted_seconds(case) == pytest.approx(2 * 288 / 1e9 + 4 * 3 * 288 / 1e8)


def test_a_fast_enough_case_and_a_step_are_tried(monkeypatch):
    monkeypatch.setattr(CEILINGS, lambda *_: SLOW)
    assert not isinstance(open_case(cost_case(operator="input_factor", call_limit_s=1e3)), Declined)
    step = cost_case(approximation="sgd", phase="step", network="digits_small", call_limit_s=1e-9)
    assert predicted_seconds(step) is None
    assert not isinstance(open_case(step), Declined)


def test_half_precision_needs_half():
    layer = ConvGeometry.conv(64, 64, (14, 14), 3, padding=1)
    half, whole = (
        predicted_bytes(cost_case(operator="input_factor", geometry=layer, batch=64, precision=precision))
        for precision in ("bf16", "ieee")
    )
    assert torch.bfloat16.itemsize * whole == torch.float32.itemsize * half
