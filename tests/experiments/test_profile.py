"""The profile experiment, its time the number of tensor operations, so that every figure is exact."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Visited
from kfc_bench.experiments.profile import measurement
from kfc_bench.experiments.profile.case import ProfileCase
from kfc_bench.experiments.profile.layers import modules, shares
from kfc_bench.experiments.profile.measurement import differing, open_case
from kfc_bench.experiments.profile.plan import parse
from kfc_bench.experiments.profile.trace import write_trace
from kfc_bench.experiments.profile.training import LAYOUTS, Layout, Training
from kfc_bench.experiments.table import Table
from kfc_bench.measure.stopwatch import CpuTimer
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.problems.named import find_network
from kfc_bench.problems.networks import NETWORKS, Network
from kfc_bench.results.schema import COMMON, PART_COLUMNS, check_record

CASE = ProfileCase(
    network="digits_small",
    input_shape=None,
    approximation="kfc",
    batch=4,
    clip=None,
    fisher="mc",
    damping=1e-2,
    statistics_every=2,
    inverses_every=4,
    dtype="float32",
    precision="ieee",
    device="cpu",
    rule=StoppingRule(least_visits=6, most_visits=6),
    timeout_s=60.0,
)
CLIPPED = replace(CASE, clip=0.3)


class Operations(TorchDispatchMode):
    """Counts what torch runs."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += 1
        return function(*arguments, **(keywords or {}))


class OperationsTimer:
    between = CpuTimer.between

    def __init__(self, operations):
        self._operations = operations

    def settle(self):
        pass

    def mark(self):
        return float(self._operations.count)


@cache
def measured(case):
    """Measure a case with a second for every operation."""
    with pytest.MonkeyPatch.context() as patch, Operations() as operations:
        patch.setattr(measurement, "best_layout", lambda _: Layout())
        patch.setattr(measurement, "timer_for", lambda _: OperationsTimer(operations))
        opened = open_case(case)
        assert isinstance(opened, Visited)
        visits = 1
        while opened.visit():
            visits += 1
        record = opened.record()
    check_record(dict.fromkeys(COMMON) | {"experiment": "profile"} | case.columns() | record)
    assert record["visits"] == visits == len(opened.visit_medians) == 6
    json.dumps(record)
    return record


def seconds(record, phase, layer=None):
    return sum(
        row["call_s"] for row in record["parts"] if row["phase"] == phase and (layer is None or row["layer"] == layer)
    )


@pytest.mark.parametrize("approximation", ["sgd", "kfc", "ekfac", "exact"])
def test_the_parts_add_up_to_the_step(approximation):
    record = measured(replace(CLIPPED, approximation=approximation))
    assert record["step_ci_low_s"] <= record["step_s"] <= record["step_ci_high_s"]
    assert record["marked_step_s"] == pytest.approx(record["step_s"])
    assert record["parts_s"] + record["other_s"] == pytest.approx(record["step_s"])
    assert 0.95 < record["parts_share"] <= 1
    assert not record["suspect"]
    assert "reason" not in record
    assert sum(kind["share"] * kind["step_s"] for kind in record["steps"]) == pytest.approx(record["step_s"])
    for row in record["parts"]:
        assert set(row) <= set(PART_COLUMNS)
        assert row["per_step_s"] == pytest.approx(row["call_s"] / row["every"])
        assert row["peak_bytes"] >= 0
    assert len({(row["phase"], row["layer"]) for row in record["parts"]}) == len(record["parts"])


def test_every_phase_of_a_layer_has_its_row():
    record = measured(CLIPPED)
    rows = {(row["phase"], row["layer"]): row for row in record["parts"]}
    for phase, every in (
        ("forward", 1),
        ("backward", 1),
        ("input factor", 2),
        ("output factor", 2),
        ("inverse", 4),
        ("precondition", 1),
        ("clip", 1),
    ):
        for layer in ("conv1", "conv2", "fc"):
            assert rows[phase, layer]["every"] == every
            assert rows[phase, layer]["call_s"] > 0
            assert rows[phase, layer]["shared"] == (phase in ("inverse", "precondition"))
    # The sampled vectors need not go through the first layer.
    assert rows["sampled backward", "fc"]["every"] == 2
    assert ("sampled backward", "conv1") not in rows
    conv = rows["input factor", "conv2"]
    assert (conv["kind"], conv["in_channels"], conv["out_channels"], conv["size"], conv["kernel"]) == (
        "Conv2d",
        4,
        8,
        "4x4",
        "3x3",
    )
    assert (conv["in_elements"], conv["out_elements"], conv["parameters"]) == (4 * 16, 8 * 16, 8 * (4 * 9 + 1))
    assert rows["forward", "relu1"]["kind"] == "ReLU"
    assert "kernel" not in rows["forward", "relu1"]
    assert rows["forward", "conv1"]["held_bytes"] == 4 * 4 * 64 * 4
    assert record["peak_memory_bytes"] >= max(row["peak_bytes"] for row in record["parts"]) > 0
    assert list(dict.fromkeys(phase for phase, _ in rows))[-1] == "update"


def test_one_call_for_several_layers_is_divided_by_counted_work():
    record = measured(CLIPPED)
    inverse = {row["layer"]: row["call_s"] for row in record["parts"] if row["phase"] == "inverse"}
    work = {"conv1": 10**3 + 4**3, "conv2": 37**3 + 8**3, "fc": 33**3 + 10**3}
    for layer, value in inverse.items():
        assert value / sum(inverse.values()) == pytest.approx(work[layer] / sum(work.values()))
    assert shares("inverse", ["a", "b"], {("inverse", "a"): 3.0, ("inverse", "b"): 1.0}) == {"a": 0.75, "b": 0.25}
    assert shares("inverse", ["a", "b"], {}) == {"a": 0.5, "b": 0.5}


def test_decompositions_are_timed_layer_by_layer():
    record = measured(replace(CLIPPED, approximation="ekfac"))
    assert seconds(record, "eigenvalue correction", "conv2") > 0
    assert seconds(record, "inverse", "conv2") > 0


class Normalised(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 3))


def test_a_network_of_ones_own_with_normalisation():
    record = measured(replace(CASE, network=f"{__name__}:Normalised", input_shape=(1, 4, 4)))
    assert record["layout"] == "contiguous"
    assert seconds(record, "statistics", "1") > 0
    assert seconds(record, "precondition", "1") > 0
    assert record["suspect"] is False


class Dropping(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))


def test_steps_that_are_held_to_each_other_drop_the_same():
    case = replace(CASE, network=f"{__name__}:Dropping", input_shape=(1, 4, 4), approximation="sgd")
    assert differing(case, Layout(), Training(case, Layout())) is None


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(input=x.flatten(1))


def test_a_layer_may_be_called_by_keyword():
    found = modules(find_network(f"{__name__}:Named", (1, 4, 4)))["fc"]
    assert (found.in_elements, found.out_elements, found.parameters, found.trained) == (16, 3, 51, 51)


def test_skipped_steps_are_no_steps():
    under_way = open_case(CASE)
    while under_way.visit():
        pass
    under_way.training.optimizer.skipped = 2
    record = under_way.record()
    assert (record["status"], record["reason"]) == ("wrong", "2 steps were skipped: their numbers were not finite")


def test_a_sum_that_misses_the_step_is_suspect_and_says_so(monkeypatch):
    monkeypatch.setattr(measurement, "seconds_of", lambda *_: 1e6)
    record = measured(replace(CASE, approximation="sgd", batch=5))
    assert record["status"] == "ok"
    assert record["suspect"]
    assert "of the measured step, not to 95..105 %" in record["reason"]


@pytest.mark.parametrize("approximation", ["sgd", "kfc"])
@pytest.mark.parametrize("layout", [LAYOUTS[0], LAYOUTS[-1]])
def test_a_watched_step_leaves_the_same_weights(approximation, layout):
    case = replace(CASE, approximation=approximation, clip=0.3)
    assert differing(case, layout, Training(case, layout)) is None


def test_a_watched_step_that_does_not_is_wrong(monkeypatch):
    monkeypatch.setattr(measurement, "best_layout", lambda _: Layout())
    marked = Training.marked

    def spoiling(self, listener):
        with torch.no_grad():
            next(self.model.parameters()).add_(1)
        return marked(self, listener)

    monkeypatch.setattr(Training, "marked", spoiling)
    ended = open_case(CASE)
    assert not ended.visit()
    assert ended.record()["status"] == "wrong"
    assert "leaves other weights" in ended.record()["reason"]


def test_the_kinds_of_step_in_a_cycle():
    assert CASE.kinds() == {(True, True): 0.25, (False, False): 0.5, (True, False): 0.25}
    assert sum(replace(CASE, statistics_every=2, inverses_every=3).kinds().values()) == pytest.approx(1)
    assert replace(CASE, approximation="sgd").kinds() == {(False, False): 1.0}


def test_a_module_that_runs_twice_is_counted_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 5)

        def forward(self, x):
            return self.fc(self.fc(x))

    found = modules(Network(Twice, (5,), 5))
    assert (found["fc"].in_elements, found["fc"].out_elements, found["fc"].parameters) == (10, 10, 30)


SWEEP = {"network": "digits", "approximation": ["sgd", "kfc"], "batch": [4, 8], "clip": [0.0, 0.3]}


def plan(*sweeps, **changes):
    return parse(Table({"sweep": list(sweeps or [SWEEP]), **changes}, "mine.toml"), "cpu")


def test_every_combination_is_a_case_once():
    cases = plan().due({})
    assert [(case.approximation, case.batch, case.clip) for case in cases] == [
        ("sgd", 4, None),
        ("kfc", 4, None),
        ("kfc", 4, 0.3),
        ("sgd", 8, None),
        ("kfc", 8, None),
        ("kfc", 8, 0.3),
    ]
    assert len({case.case_id for case in cases}) == len(cases)
    assert len({case.group for case in cases}) == 2
    assert cases[2].label == "profile of kfc clipped at 0.3, digits, batch 4"
    assert cases[0].columns()["input"] == "1x8x8"


REFUSED = [
    ({"network": "digit"}, r"mine.toml \[\[sweep\]\] 1: network 'digit' is not one of .*did you mean 'digits'"),
    ({"network": "nowhere:Net", "input": [3]}, "network 'nowhere:Net' cannot be imported"),
    ({"network": f"{__name__}:Normalised"}, "its input's shape is needed too"),
    ({"input": [0, 3]}, r"input = \[0, 3\] must be the shape of one example"),
    ({"input": [1, 20, 20]}, "does not take an input of 1x20x20"),
    ({"approximation": "identity"}, "approximation 'identity' is not one of"),
    ({"batch": 0}, "batch = 0 must be at least 1"),
    ({"clip": -1.0}, r"clip = -1\.0 must not be negative"),
    ({"statistics_every": 0}, "statistics_every = 0 must be at least 1"),
    ({"damping": 0.0}, r"damping = 0\.0 must be positive"),
    ({"precision": "bf16"}, "precision 'bf16' is not one of ieee, tf32"),
    ({"least_visits": 8, "most_visits": 7}, "most_visits = 7 must be at least least_visits = 8"),
    ({"layer": "fc"}, "unknown key 'layer'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_mistake_is_named(change, message):
    with pytest.raises(UserError, match=message):
        plan(SWEEP | change)


def test_a_trace_has_every_span_as_a_range(tmp_path):
    write_trace(replace(CASE, clip=0.3), "contiguous", tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event["name"] for event in events if str(event.get("name", "")).startswith("kfc: ")}
    assert {"kfc: input factor conv2", "kfc: backward fc", "kfc: clip conv1", "kfc: inverse conv1 and 2 more"} <= names
    assert list(tmp_path.iterdir()) == [tmp_path / "trace.json"]
    with pytest.raises(UserError, match="cannot be written"):
        write_trace(CASE, "contiguous", tmp_path / "nowhere" / "trace.json")


def test_it_is_known_to_the_runner():
    assert EXPERIMENTS["profile"].visited
    assert set(NETWORKS) >= {"cifar10", "resnet18"}
