import dataclasses
import gc
import importlib.util
import subprocess
import sys
import weakref

import pytest
import torch
from torch.testing import assert_close

from kfc_bench.contestants import Contestant, contestants
from kfc_bench.contestants.contestant import takes
from kfc_bench.experiments.cost import COST
from kfc_bench.experiments.cost.measurement import CostMeasurement, open_case
from kfc_kernels import ConvGeometry, UnsupportedError
from kfc_kernels.catalogue import OPERATORS
from tests.contestants.cases import (
    LAYER,
    PEERS,
    PLAIN,
    case_of,
    every_contestant,
    every_peer,
    layers,
    need,
    reference,
    result,
)
from tests.experiments.cost_cases import cost_case, journalled

PLAIN_CASES = [
    pytest.param(contestant, *layer, id=f"{contestant.name} {name}")
    for contestant in PLAIN
    for name, layer in layers().items()
    if contestant.declines(case_of(*layer)) is None
]
CIRCULAR = ConvGeometry.conv(3, 4, (6, 5), 3, padding=1, padding_mode="circular")


@pytest.mark.parametrize(("contestant", "geometry", "a"), PLAIN_CASES)
def test_plain_formulas_are_exact(contestant, geometry, a):
    assert_close(result(contestant, a, geometry), reference(a, geometry))


def test_plain_formulas_take_every_layer_without_groups_and_bias():
    taken = {param.id for param in PLAIN_CASES}
    for name, (geometry, _) in layers().items():
        if geometry.groups == 1 and not geometry.bias and geometry.axes:
            assert {f"tensor_unfold {name}", f"weight_gradient {name}"} <= taken


@every_peer
def test_peers_are_exact_on_what_they_take(contestant):
    need(contestant)
    dtype = torch.float32 if contestant.name == "backpack_api" else torch.float64
    seen = set()
    for name, (geometry, exact) in layers().items():
        a = exact.to(dtype)
        if contestant.declines(case_of(geometry, a)) is None and geometry.padding_mode == "zeros":
            difference = (result(contestant, a, geometry).double() - reference(a, geometry)).norm()
            assert difference <= 8 * torch.finfo(dtype).eps * reference(a, geometry).norm(), name
            seen |= {name}
    assert {"3x3", "5x5", "3x1", "stride-by-axis", "map-under-kernel", "batch1"} <= seen


@every_peer
def test_peers_take_circular_padding_for_zeros_and_the_gate_finds_it(contestant):
    need(contestant)
    case = cost_case(operator="input_factor", implementation=contestant.name, geometry=CIRCULAR)
    record = journalled(case, open_case(case).record())
    assert record["status"] == "wrong"
    assert record["rel_error"] > 0.01


@every_contestant
def test_a_contestant_passes_the_gate_and_is_timed(contestant):
    need(contestant)
    case = cost_case(operator="input_factor", implementation=contestant.name, geometry=LAYER)
    measurement = open_case(case)
    assert isinstance(measurement, CostMeasurement), measurement.record()
    while measurement.visit():
        pass
    record = journalled(case, measurement.record())
    assert record["status"] == "ok"
    assert record["implementation"] == contestant.name
    assert record["time_median_s"] > 0


@every_contestant
def test_a_call_leaves_nothing_behind(contestant):
    need(contestant)
    a = torch.randn(8, 3, 6, 5)
    run = contestant.ready([a, LAYER], case_of(LAYER, a))
    run()
    answer = weakref.ref(run())
    gc.collect()
    assert answer() is None


@every_contestant
def test_peak_memory_has_the_result_in_it(contestant):
    need(contestant)
    layer = ConvGeometry.conv(24, 4, (6, 5), 3, padding=1)
    case = cost_case(operator="input_factor", implementation=contestant.name, geometry=layer)
    assert open_case(case).memory.allocator_bytes >= 4 * layer.patch_dim**2


@every_contestant
def test_a_result_in_another_scale_is_wrong(contestant, monkeypatch):
    need(contestant)
    off = dataclasses.replace(contestant, scale=lambda geometry, batch: 1.001 * contestant.scale(geometry, batch))
    monkeypatch.setitem(contestants(), contestant.name, off)
    case = cost_case(operator="input_factor", implementation=contestant.name, geometry=LAYER)
    assert open_case(case).record()["status"] == "wrong"


@every_contestant
def test_what_is_timed_is_unscaled(contestant, monkeypatch):
    need(contestant)
    seen = []

    def watched(*arguments):
        run = contestant.prepare(*arguments)
        return lambda: seen.append(run()) or seen[-1]

    monkeypatch.setitem(contestants(), contestant.name, dataclasses.replace(contestant, prepare=watched))
    case = cost_case(operator="input_factor", implementation=contestant.name, geometry=LAYER)
    measurement = open_case(case)
    ((_, timed),) = measurement.workload.parts
    assert timed() is seen[-1]
    assert_close(
        seen[-1] * contestant.scale(LAYER, case.batch), seen[0] * measurement.workload.scale, atol=1e-4, rtol=1e-4
    )


@every_peer
def test_a_missing_peer_is_unsupported_with_the_command_that_installs_it(contestant, monkeypatch):
    find = importlib.util.find_spec
    missing = contestant.package.module
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    case = cost_case(operator="input_factor", implementation=contestant.name, geometry=LAYER)
    with pytest.raises(UnsupportedError) as caught:
        open_case(case)
    status, reason = COST.classify(caught.value)
    assert status == "unsupported"
    assert f"{missing} is not installed: pip install {contestant.package.distribution}" in reason


DECLINED = {
    "groups": (ConvGeometry.conv(4, 4, (6, 5), 3, groups=2), "no factor per group"),
    "bias": (dataclasses.replace(LAYER, bias=True), "no joint factor"),
    "1d": (ConvGeometry.conv(3, 4, (6,), 3), "takes 2d convolutions"),
    "linear": (ConvGeometry.linear(3, 4), "takes 2d convolutions"),
    "same-even": (ConvGeometry.conv(3, 4, (6, 5), 2, padding="same"), "both sides"),
    "circular": (CIRCULAR, "zeros only"),
}


@pytest.mark.parametrize("case", DECLINED)
def test_what_is_declined_is_said(case):
    geometry, words = DECLINED[case]
    with pytest.raises(UnsupportedError, match=rf"input_factor: unfold_matmul .*{words}"):
        open_case(cost_case(operator="input_factor", implementation="unfold_matmul", geometry=geometry))


def test_padding_modes_do_not_matter_without_padding():
    geometry = ConvGeometry.conv(3, 4, (6, 5), 3, padding_mode="circular")
    assert takes()(case_of(geometry, torch.zeros(1))) is None


def test_public_apis_take_single_and_double_precision_only():
    for name, contestant in contestants().items():
        assert (contestant.declines(case_of(LAYER, torch.zeros(1, dtype=torch.float16))) is not None) == (
            name.endswith("_api")
        )


def test_names_are_no_implementations():
    ours = {"auto", *(entry.name for operator in OPERATORS.values() for entry in operator.table)}
    assert ours.isdisjoint(contestants())
    assert all(entry.operator in OPERATORS for entry in contestants().values())


def test_a_contestant_of_another_operator_is_not_run():
    case = cost_case(operator="output_factor", implementation="unfold_matmul")
    with pytest.raises(UnsupportedError, match="output_factor has no implementation 'unfold_matmul'"):
        open_case(case)


def test_two_contestants_of_one_name_are_refused(monkeypatch):
    double = Contestant("unfold_matmul", lambda *_: None, takes())
    monkeypatch.setattr("kfc_bench.contestants.unfold_einsum.CONTESTANTS", (double,))
    with pytest.raises(ValueError, match="another contestant 'unfold_matmul'"):
        contestants.__wrapped__()


def test_listing_contestants_imports_no_peer():
    modules = sorted({entry.package.module for entry in PEERS})
    script = (
        "import sys\n"
        "from kfc_bench.contestants import contestants\n"
        "contestants()\n"
        f"print(*[name for name in {modules!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert not answer.stdout.strip()
