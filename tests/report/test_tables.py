import io

import pytest
from rich.console import Console

from kfc_bench import curvature
from kfc_bench.report.names import APPROXIMATIONS
from kfc_bench.report.summary import print_summary, tables
from kfc_bench.report.tables import TextTable, device_badge, health_line
from kfc_bench.results.frames import load_results
from tests.helpers import cost_record, results_of, step_record, trial_record, write_run


def phase_record(approximation, phase, **own):
    return cost_record(
        f"{approximation} {phase} {own.get('layer')}",
        approximation=approximation,
        phase=phase,
        **{"layer": "digits.conv1", "time_median_s": 1.5e-3} | own,
    )


def rows_of(tmp_path, records):
    return tables(results_of(tmp_path, records))[0].rows


def test_each_layer_has_a_row_an_approximation(tmp_path):
    records = [
        phase_record("kfc", "accumulate"),
        phase_record("kfc", "refresh", status="crashed"),
        phase_record("exact", "refresh", status="unsupported", predicted_bytes=3 * 2**30),
        phase_record("kfc", "accumulate", layer="digits.conv2", time_median_s=2.0),
    ]
    assert rows_of(tmp_path, records) == [
        ["digits.conv1", "64", "kfc", "1.5 ms", "crashed", "-"],
        ["digits.conv1", "64", "exact", "-", "needs 3 GiB", "-"],
        ["digits.conv2", "64", "kfc", "2 s", "-", "-"],
        ["digits.conv2", "64", "exact", "-", "-", "-"],
    ]


def test_an_unsupported_case_without_a_prediction_says_so(tmp_path):
    assert rows_of(tmp_path, [phase_record("kfc", "refresh", status="unsupported")])[0][4] == "unsupported"


def test_a_case_predicted_to_be_slow_says_how_slow(tmp_path):
    slow = phase_record("kfc", "refresh", status="unsupported", predicted_call_s=12.34)
    assert rows_of(tmp_path, [slow])[0][4] == "takes 12.3 s"


def test_of_many_layers_some_are_shown_from_end_to_end(tmp_path):
    records = [phase_record("kfc", "accumulate", layer=f"layer {index}") for index in range(40)]
    table = tables(results_of(tmp_path, records))[0]
    assert len(table.rows) == 15
    assert [table.rows[place][0] for place in (0, -1)] == ["layer 0", "layer 39"]
    assert table.title.endswith("15 of 40 layers and batches")


def test_a_bar_in_a_cell_ends_no_column():
    assert "a \\| b" in TextTable("t", ["x"], [["a | b"]]).to_markdown()


def test_the_comparison_with_sgd(tmp_path):
    records = [
        step_record("sgd", (1e-3, 8e-4, 2e-3)),
        step_record("kfc", (2e-3, 1.6e-3, 4e-3)),
        trial_record("sgd", 1, 30, 3.0),
        trial_record("kfc", 1, 6, 1.5),
        trial_record("exact", 1, None, None),
    ]
    assert rows_of(tmp_path, records) == [
        ["digits", "64", "sgd", "1 ms", "1x", "1 KiB", "30", "1x", "3 s", "1x", "1 of 1"],
        ["digits", "64", "kfc", "2 ms", "2x [0.8, 5]", "1 KiB", "6", "0.2x", "1.5 s", "0.5x", "1 of 1"],
        ["digits", "64", "exact", "-", "-", "-", "not reached", "not reached", "not reached", "not reached", "0 of 1"],
    ]


def test_clipped_steps_stand_below_the_others_and_were_in_no_trial(tmp_path):
    records = [
        step_record("sgd", (1e-3, 8e-4, 2e-3)),
        step_record("kfc", (3e-3, 3e-3, 3e-3), clip=0.3) | {"case_id": "clipped"},
        step_record("kfc", (2e-3, 1.6e-3, 4e-3)),
        trial_record("kfc", 1, 6, 1.5),
    ]
    rows = rows_of(tmp_path, records)
    assert [(row[2], row[3], row[6]) for row in rows] == [
        ("sgd", "1 ms", "-"),
        ("kfc", "2 ms", "6"),
        ("kfc, clip 0.3", "3 ms", "-"),
    ]


def test_a_step_without_sgd_or_trials(tmp_path):
    assert rows_of(tmp_path, [step_record("kfc", (2e-3, 1.6e-3, 4e-3))]) == [
        ["digits", "64", "kfc", "2 ms", "-", "1 KiB", "-", "-", "-", "-", "-"]
    ]


def test_a_median_between_two_seeds(tmp_path):
    rows = rows_of(tmp_path, [trial_record("sgd", seed, steps, 1.0) for seed, steps in enumerate([3, 4])])
    assert rows[0][6] == "3.5"


@pytest.mark.parametrize(
    ("kinds", "badge"),
    [(["cpu"], "CPU, no GPU: X"), (["cuda"], "X"), (["cpu", "cuda"], "X")],
)
def test_a_cpu_is_badged(tmp_path, kinds, badge):
    for kind in kinds:
        write_run(tmp_path / kind, [cost_record()], env_id=kind, device="X", device_kind=kind)
    assert device_badge(load_results([tmp_path])) == badge


def test_the_count_by_status(tmp_path):
    records = [cost_record("a"), cost_record("b", status="oom"), trial_record("sgd", 1, 6, 0.5)]
    assert health_line(results_of(tmp_path, records)) == "2 ok, 1 oom"


def test_nothing_to_show(tmp_path):
    results = load_results([tmp_path])
    out = io.StringIO()
    print_summary(results, Console(file=out))
    assert tables(results) == []
    assert out.getvalue() == "no records\n"


def test_a_table_in_the_terminal_and_in_markdown(tmp_path):
    results = results_of(tmp_path, [step_record("sgd", (1e-3, 8e-4, 2e-3)), step_record("kfc", (2e-3, 1.6e-3, 4e-3))])
    (table,) = tables(results)
    lines = table.to_markdown().splitlines()
    assert lines[0] == "**Against tuned SGD (CPU, no GPU: Some CPU)**"
    assert {line.count("|") for line in lines[2:]} == {len(table.header) + 1}
    out = io.StringIO()
    print_summary(results, Console(file=out, width=200))
    for word in ("Against tuned SGD", "step / SGD", "2x [0.8, 5]", "2 ok"):
        assert word in out.getvalue()


def test_every_approximation_has_its_place_in_the_tables():
    assert [*APPROXIMATIONS, "identity"] == list(curvature.APPROXIMATIONS)
