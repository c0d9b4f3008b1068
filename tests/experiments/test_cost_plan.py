import dataclasses
import json
import os
import subprocess
import sys
import tomllib

import pytest

from kfc_bench.errors import UserError
from kfc_bench.experiments.cost.plan import parse
from kfc_bench.experiments.table import Table
from kfc_bench.measure.visits import StoppingRule
from kfc_bench.resources import share
from kfc_kernels import ConvGeometry
from kfc_kernels.catalogue import OPERATORS
from tests.experiments.cost_cases import cost_case, journalled

LAYER = "layer = { in_channels = 4, out_channels = 6, size = 8, kernel = 3 }"


def plan(text):
    return parse(Table(tomllib.loads(text), "suite.toml"), "cpu")


def sweep(*lines):
    return "\n".join(("[[sweep]]", *lines, ""))


EXPANSIONS = {
    "one": (sweep('operator = "input_factor"', LAYER, "batch = 4"), 1),
    "operators": (sweep(f"operator = {json.dumps(list(OPERATORS))}", LAYER, "batch = [4, 8]"), 2 * len(OPERATORS)),
    "phases": (
        sweep(
            'approximation = ["kfc", "sgd"]',
            'phase = ["accumulate", "refresh", "precondition"]',
            'layer = ["digits.conv1", "digits.fc"]',
            "batch = [1, 2, 3]",
        ),
        2 * 3 * 2 * 3,
    ),
    "step": (
        sweep('approximation = ["kfc", "sgd"]', 'phase = "step"', 'network = ["digits", "cifar10"]', "batch = 4"),
        4,
    ),
    "axes": (
        sweep(
            'operator = "input_factor"',
            LAYER,
            "batch = 4",
            'dtype = ["float32", "float64"]',
            'precision = ["ieee", "tf32"]',
            'implementation = ["auto", "reference"]',
        ),
        8,
    ),
    "clipping": (
        sweep(
            'approximation = ["kfc", "sgd"]',
            'phase = ["precondition", "step"]',
            'network = "digits"',
            "batch = 4",
            "clip = [0.0, 0.3, 1.0]",
        ),
        2 + 3 + 1,
    ),
    "duplicates": (
        sweep('operator = ["input_factor", "output_factor"]', LAYER, "batch = [4, 8]")
        + sweep('operator = "input_factor"', LAYER, "batch = [8, 16]"),
        5,
    ),
}


@pytest.mark.parametrize("case", EXPANSIONS)
def test_a_sweep_expands_to_every_combination(case):
    text, count = EXPANSIONS[case]
    cases = plan(text).due({})
    assert len(cases) == plan(text).total == count
    assert len({entry.case_id for entry in cases}) == count


def test_duplicates_keep_the_first():
    text = sweep('operator = "input_factor"', LAYER, "batch = 4", "seconds = 1.0")
    text += sweep('operator = "input_factor"', LAYER, "batch = 4", "seconds = 9.0")
    (case,) = plan(text).due({})
    assert case.rule.seconds == 1.0


def test_the_quickstart_suite():
    with (share("suites") / "quickstart.toml").open("rb") as file:
        section = next(entry for entry in tomllib.load(file)["section"] if entry["kind"] == "cost")
    cases = parse(
        Table({key: value for key, value in section.items() if key not in ("name", "kind")}, "quickstart"), "cpu"
    ).due({})
    assert {case.approximation for case in cases} == {"kfc", "diagonal", "block_diagonal", "exact", "sgd"}
    assert {case.phase for case in cases} == {"accumulate", "refresh", "precondition", "step"}


def test_defaults_reach_every_sweep_and_yield_to_it():
    text = "[defaults]\ndamping = 0.5\nmemory_limit_gib = 0.5\n"
    text += sweep('operator = "input_factor"', LAYER, "batch = 4")
    text += sweep('operator = "output_factor"', LAYER, "batch = 4", "damping = 0.25")
    first, second = plan(text).due({})
    assert (first.damping, second.damping) == (0.5, 0.25)
    assert first.memory_limit_bytes == second.memory_limit_bytes == 2**29


def test_a_described_layer():
    text = sweep(
        'operator = "input_factor"',
        "layer = { in_channels = 4, out_channels = 6, size = [8, 6], kernel = [3, 1], "
        "stride = 2, padding = [1, 0], groups = 2, bias = true }",
        "batch = 4",
    )
    (case,) = plan(text).due({})
    assert case.geometry == ConvGeometry.conv(4, 6, (8, 6), (3, 1), stride=2, padding=(1, 0), groups=2, bias=True)
    assert case.layer == "4->6 8x6 k3x1 stride 2 groups 2 bias"
    assert case.columns()["size"] == "8x6"


GRID = "grid = { channels = [16, 64], size = [7, 14], kernel = [1, 3] }"


def test_a_grid_is_every_combination_with_the_map_kept():
    cases = plan(sweep('operator = "input_factor"', GRID, "batch = 4")).due({})
    assert [case.geometry for case in cases] == [
        ConvGeometry.conv(channels, channels, (size, size), kernel, padding=kernel // 2)
        for channels in (16, 64)
        for size in (7, 14)
        for kernel in (1, 3)
    ]
    assert {case.geometry.out_size for case in cases if case.geometry.in_size == (7, 7)} == {(7, 7)}


def test_a_grid_sweeps_stride_and_groups_too_and_takes_a_padding():
    text = sweep('operator = "input_factor"', GRID.replace(" }", ", stride = [1, 2], groups = [1, 4], padding = 0 }"))
    cases = plan(text + "batch = 4").due({})
    assert len(cases) == 8 * 4
    assert {case.geometry.groups for case in cases} == {1, 4}
    assert {case.geometry.padding for case in cases} == {((0, 0), (0, 0))}
    assert len({case.layer for case in cases}) == 8 * 4


def test_layers_and_a_grid_stand_side_by_side():
    cases = plan(sweep('operator = "input_factor"', 'layer = "digits.conv1"', GRID, "batch = 4")).due({})
    assert [case.layer for case in cases][:2] == ["digits.conv1", "16->16 7x7 k1x1"]
    assert len(cases) == 9


ALIKE = {
    "plain": "",
    "stride": "stride = 2",
    "padding": "padding = 1",
    "dilation": "dilation = 2",
    "groups": "groups = 2",
    "bias": "bias = true",
    "mode": 'padding = 1, padding_mode = "circular"',
}


def test_layers_that_differ_never_share_a_name_nor_a_group():
    more = [
        LAYER.replace(" }", f", {words} }}" if words else " }").removeprefix("layer = ") for words in ALIKE.values()
    ]
    cases = plan(sweep('operator = "input_factor"', f"layer = [{', '.join(more)}]", "batch = 4")).due({})
    assert len({case.layer for case in cases}) == len({case.group for case in cases}) == len(ALIKE)


def test_limits_reach_the_cases():
    text = sweep('operator = "input_factor"', LAYER, "batch = 4", "call_limit_s = 0.5")
    text += sweep('operator = "output_factor"', LAYER, "batch = 4")
    assert [case.call_limit_s for case in plan(text).due({})] == [0.5, None]


MISTAKES = {
    "grid-key": (
        sweep('operator = "input_factor"', GRID.replace("kernel", "kernels"), "batch = 1"),
        r"\[\[sweep\]\] 1 grid: key 'kernel' is missing",
    ),
    "grid-unknown": (
        sweep('operator = "input_factor"', GRID.replace(" }", ", strides = 2 }"), "batch = 1"),
        r"\[\[sweep\]\] 1 grid: unknown key 'strides' \(did you mean 'stride'",
    ),
    "grid-zero": (
        sweep('operator = "input_factor"', GRID.replace("[7, 14]", "[0, 14]"), "batch = 1"),
        "size = 0 must be at least 1",
    ),
    "grid-groups": (
        sweep('operator = "input_factor"', GRID.replace(" }", ", groups = 3 }"), "batch = 1"),
        "do not divide into 3 groups",
    ),
    "grid-table": (sweep('operator = "input_factor"', "grid = 3", "batch = 1"), "grid = 3 must be of type dict"),
    "no-layer": (sweep('operator = "input_factor"', "batch = 1"), "key 'layer' is missing"),
    "call-limit": (sweep('operator = "input_factor"', LAYER, "batch = 1", "call_limit_s = -1"), "call_limit_s = -1"),
    "approximation": (sweep('approximation = "kfk"', 'phase = "refresh"', LAYER, "batch = 1"), "did you mean 'kfc'"),
    "operator": (sweep('operator = "input_factors"', LAYER, "batch = 1"), "did you mean 'input_factor'"),
    "batch": (sweep('operator = "input_factor"', LAYER, "batch = 0"), "batch = 0 must be at least 1"),
    "network": (
        sweep('operator = "input_factor"', 'layer = "cifar.conv1"', "batch = 1"),
        "network 'cifar' is not one of",
    ),
    "layer": (sweep('operator = "input_factor"', 'layer = "cifar10.conv9"', "batch = 1"), "layer of cifar10 'conv9'"),
    "key": (sweep('operator = "input_factor"', LAYER, "batch = 1", "batches = 2"), "unknown key 'batches'"),
    "default": ("[defaults]\nlayer = 3\n" + EXPANSIONS["one"][0], r"\[defaults\]: unknown key 'layer'"),
    "step-on-layer": (
        sweep('approximation = "kfc"', 'phase = "step"', LAYER, "batch = 1"),
        "phase 'step' is measured on a network",
    ),
    "precision": (
        sweep('approximation = "kfc"', 'phase = "refresh"', LAYER, "batch = 1", 'precision = "bf16"'),
        "bf16 and fp16 are for operators",
    ),
    "implementation": (
        sweep('operator = "input_factor"', LAYER, "batch = 1", 'implementation = "refrence"'),
        "did you mean 'reference'",
    ),
    "kernel": (
        sweep('operator = "input_factor"', LAYER.replace("kernel = 3", "kernel = 9"), "batch = 1"),
        "does not fit",
    ),
    "clip": (
        sweep('approximation = "kfc"', 'phase = "step"', 'network = "digits"', "batch = 1", "clip = -0.3"),
        "clip = -0.3 must not be negative",
    ),
    "no-sweep": ("[defaults]\n", "key 'sweep' is missing"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case):
    text, message = MISTAKES[case]
    with pytest.raises(UserError, match=rf"^suite\.toml.*{message}"):
        plan(text)


SAME = {
    "rule": {"rule": StoppingRule(seconds=99.0)},
    "timeout_s": {"timeout_s": 1.0},
    "memory_limit_bytes": {"memory_limit_bytes": 5},
    "call_limit_s": {"call_limit_s": 5.0},
    "layer": {"layer": "another name"},
    "periods-of-no-step": {"statistics_every": 7, "inverses_every": 9},
}
DIFFERENT = {
    "batch": {"batch": 9},
    "phase": {"phase": "accumulate"},
    "dtype": {"dtype": "float64"},
    "precision": {"precision": "tf32"},
    "implementation": {"implementation": "reference"},
    "damping": {"damping": 0.2},
    "geometry": {"geometry": ConvGeometry.conv(3, 4, (6, 5), 3, padding=1)},
    "padding": {"geometry": ConvGeometry.conv(3, 4, (6, 5), 3, padding=(1, 0), bias=True)},
    "padding-mode": {"geometry": ConvGeometry.conv(3, 4, (6, 5), 3, padding=1, padding_mode="circular", bias=True)},
}
CASE = cost_case(approximation="kfc", phase="refresh")


@pytest.mark.parametrize("case", SAME)
def test_limits_do_not_change_a_case(case):
    assert dataclasses.replace(CASE, **SAME[case]).case_id == CASE.case_id


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_is_measured_does(case):
    assert dataclasses.replace(CASE, **DIFFERENT[case]).case_id != CASE.case_id


def test_periods_change_a_step():
    step = cost_case(approximation="kfc", phase="step", network="digits")
    assert dataclasses.replace(step, statistics_every=5).case_id != step.case_id


def test_clipping_changes_a_step_and_its_absence_is_not_in_a_case_s_name():
    step = cost_case(approximation="kfc", phase="step", network="digits")
    assert dataclasses.replace(step, clip=0.3).case_id != step.case_id
    assert step.case_id == "3d5367f1b887cdea"


def test_case_ids_are_the_same_in_every_process():
    script = (
        "from tests.experiments.cost_cases import cost_case\n"
        "print(cost_case(approximation='kfc', phase='refresh').case_id)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "17", "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert answer.stdout.strip() == CASE.case_id, answer.stderr


def test_what_is_compared_shares_a_group():
    text = sweep(
        'approximation = ["kfc", "diagonal", "sgd"]',
        'phase = ["accumulate", "refresh"]',
        'layer = ["digits.conv1", "digits.conv2"]',
        "batch = [4, 8]",
        'precision = ["ieee", "tf32"]',
    )
    groups = {}
    for case in plan(text).due({}):
        groups.setdefault(case.group, []).append(case)
    assert len(groups) == 2 * 2 * 2 * 2
    for members in groups.values():
        assert {case.approximation for case in members} == {"kfc", "diagonal", "sgd"}
        assert len({(case.layer, case.batch, case.phase, case.precision) for case in members}) == 1


COLUMNS = [
    cost_case(operator="input_factor"),
    cost_case(approximation="kfc", phase="refresh", geometry=ConvGeometry.linear(3, 4, bias=True)),
    cost_case(operator="input_factor", geometry=ConvGeometry.conv(2, 2, (5, 4), 2, padding="same")),
    cost_case(approximation="sgd", phase="step", network="cifar10"),
    cost_case(approximation="kfc", phase="step", network="digits", clip=0.3),
]


@pytest.mark.parametrize("case", COLUMNS, ids=lambda case: case.label)
def test_columns_fit_the_schema(case):
    columns = journalled(case, {"status": "ok"})
    assert columns["parameters"] == sum(geometry.parameters for geometry in case.geometries)
    assert columns["clip"] == case.clip
    assert columns["fisher"] == ("mc" if case.phase == "step" else None)
    assert json.loads(json.dumps(columns)) == columns
