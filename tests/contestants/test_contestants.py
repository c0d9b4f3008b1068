import dataclasses
import gc
import importlib.util
import subprocess
import sys
import weakref

import pytest
import torch
from torch.nn import functional
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
    SEES_OUTPUTS_ALONE,
    arguments,
    case_of,
    every_contestant,
    every_peer,
    every_plain,
    layers,
    listed,
    need,
    reference,
    result,
)
from tests.experiments.cost_cases import cost_case, journalled

USUAL = {"3x3", "5x5", "3x1", "stride-by-axis", "map-under-kernel", "batch1"}
CIRCULAR = ConvGeometry.conv(3, 4, (6, 5), 3, padding=1, padding_mode="circular")


@every_plain
def test_plain_formulas_are_exact(contestant):
    seen = set()
    for name, (geometry, batch) in layers().items():
        if contestant.declines(case_of(geometry)) is None:
            assert_close(result(contestant, geometry, batch), reference(contestant, geometry, batch), msg=name)
            seen |= {name}
    assert seen >= USUAL


def test_some_plain_formula_takes_every_layer_without_groups_and_bias():
    for geometry, _ in layers().values():
        if geometry.groups == 1 and not geometry.bias and geometry.axes:
            taking = {entry.key for entry in PLAIN if entry.declines(case_of(geometry)) is None}
            assert taking >= {
                ("input_factor", "tensor_unfold"),
                ("input_factor", "weight_gradient"),
                ("diagonal_fisher", "vmap_gradients"),
                ("output_factor", "einsum"),
            }


@every_peer
def test_peers_are_exact_on_what_they_take(contestant):
    need(contestant)
    dtype = torch.float64 if contestant.declines(case_of(LAYER)) is None else torch.float32
    seen = set()
    for name, (geometry, batch) in layers().items():
        if contestant.declines(case_of(geometry, dtype)) is None and geometry.padding_mode == "zeros":
            (found,), (exact,) = result(contestant, geometry, batch, dtype), reference(contestant, geometry, batch)
            assert (found - exact).norm() <= 8 * torch.finfo(dtype).eps * exact.norm(), name
            seen |= {name}
    assert seen >= USUAL


def test_asdl_squares_before_it_sums_where_that_takes_less_memory_and_the_gate_finds_it():
    contestant = contestants()["diagonal_fisher", "asdl"]
    need(contestant)
    geometry = ConvGeometry.conv(8, 64, (4, 4), 3, padding=1)
    record = open_case(cost_case(operator="diagonal_fisher", implementation="asdl", geometry=geometry)).record()
    assert record["status"] == "wrong"
    a, g, _ = arguments(contestant, geometry, 8)
    squares = torch.einsum("nkt,ndt->kd", g[0].flatten(2).square(), functional.unfold(a, 3, padding=1).square()) / 8
    assert_close(result(contestant, geometry, 8), [squares])


@pytest.mark.parametrize(
    "contestant",
    [entry for entry in PEERS if entry.operator not in SEES_OUTPUTS_ALONE],
    ids=lambda entry: " ".join(entry.key),
)
def test_peers_take_circular_padding_for_zeros_and_the_gate_finds_it(contestant):
    need(contestant)
    case = cost_case(operator=contestant.operator, implementation=contestant.name, geometry=CIRCULAR)
    record = journalled(case, open_case(case).record())
    assert record["status"] == "wrong"
    assert record["rel_error"] > 0.01


@every_contestant
def test_a_contestant_passes_the_gate_and_is_timed(contestant):
    need(contestant)
    case = cost_case(operator=contestant.operator, implementation=contestant.name, geometry=LAYER)
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
    run = contestant.ready(arguments(contestant, LAYER, 8, torch.float32), case_of(LAYER, torch.float32))
    run()
    answer = weakref.ref(listed(run())[0])
    gc.collect()
    assert answer() is None


@every_contestant
def test_peak_memory_has_the_result_in_it(contestant):
    need(contestant)
    layer = ConvGeometry.conv(24, 4, (6, 5), 3, padding=1)
    case = cost_case(operator=contestant.operator, implementation=contestant.name, geometry=layer)
    numbers = sum(tensor.numel() for tensor in reference(contestant, layer, case.batch))
    assert open_case(case).memory.allocator_bytes >= 4 * numbers


@every_contestant
def test_a_result_in_another_scale_is_wrong(contestant, monkeypatch):
    need(contestant)
    off = dataclasses.replace(contestant, scale=lambda geometry, batch: 1.001 * contestant.scale(geometry, batch))
    monkeypatch.setitem(contestants(), contestant.key, off)
    case = cost_case(operator=contestant.operator, implementation=contestant.name, geometry=LAYER)
    assert open_case(case).record()["status"] == "wrong"


@every_contestant
def test_what_is_timed_is_unscaled(contestant, monkeypatch):
    need(contestant)
    seen = []

    def watched(*arguments):
        run = contestant.prepare(*arguments)
        return lambda: seen.append(run()) or seen[-1]

    monkeypatch.setitem(contestants(), contestant.key, dataclasses.replace(contestant, prepare=watched))
    case = cost_case(operator=contestant.operator, implementation=contestant.name, geometry=LAYER)
    measurement = open_case(case)
    ((_, timed),) = measurement.workload.parts
    assert timed() is seen[-1]
    scale = contestant.scale(LAYER, case.batch)
    ours = [tensor * measurement.workload.scale for tensor in listed(seen[0])]
    assert_close([tensor * scale for tensor in listed(seen[-1])], ours, atol=1e-4, rtol=1e-4)


@every_peer
def test_a_missing_peer_is_unsupported_with_the_command_that_installs_it(contestant, monkeypatch):
    find = importlib.util.find_spec
    missing = contestant.package.module
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    case = cost_case(operator=contestant.operator, implementation=contestant.name, geometry=LAYER)
    with pytest.raises(UnsupportedError) as caught:
        open_case(case)
    status, reason = COST.classify(caught.value)
    assert status == "unsupported"
    assert f"{missing} is not installed: pip install {contestant.package.distribution}" in reason


DECLINED = {
    "groups": (ConvGeometry.conv(4, 4, (6, 5), 3, groups=2), "no result per group"),
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
    assert takes()(case_of(geometry)) is None


def test_public_apis_take_single_and_double_precision_only():
    for contestant in [*PLAIN, *PEERS]:
        assert (contestant.declines(case_of(LAYER, torch.float16)) is not None) == contestant.whole_pass


def test_names_are_no_implementations():
    ours = {"auto", *(entry.name for operator in OPERATORS.values() for entry in operator.table)}
    assert ours.isdisjoint(name for _, name in contestants())
    assert all(entry.operator in OPERATORS for entry in contestants().values())


def test_a_contestant_of_another_operator_is_not_run():
    case = cost_case(operator="output_factor", implementation="unfold_matmul")
    with pytest.raises(UnsupportedError, match="output_factor has no implementation 'unfold_matmul'"):
        open_case(case)


def test_a_name_can_stand_for_a_contestant_of_each_operator():
    assert {operator for operator, name in contestants() if name == "compiled"} == set(OPERATORS) - {"damped_inverse"}
    assert contestants()["input_factor", "backpack"] is not contestants()["diagonal_fisher", "backpack"]


def test_two_contestants_of_one_name_are_refused(monkeypatch):
    double = Contestant("unfold_matmul", lambda *_: None, takes())
    monkeypatch.setattr("kfc_bench.contestants.unfold_einsum.CONTESTANTS", (double,))
    with pytest.raises(ValueError, match="input_factor has another contestant 'unfold_matmul'"):
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
