"""The report says what the records say, to someone who does not know the code."""

import dataclasses

import pandas as pd
import pytest

from kfc_bench.report.coverage import missing_lines, reasons_table, sections_table
from kfc_bench.report.document import render
from kfc_bench.report.machine import ceilings_table, environment_table
from kfc_bench.report.names import described
from kfc_bench.report.operators import beside_the_fastest_other, correctness_table, operator_tables
from kfc_bench.results.session import Session
from tests.helpers import cost_record, results_of, step_record, trial_record
from tests.report.trained import trained

SESSION = Session(
    "mine",
    "big",
    "kfc-bench run mine",
    "2026-01-02 03:04:05",
    90.0,
    60.0,
    "time limit",
    {"cost": (9, 6), "more": (2, 0)},
)


def timed(implementation, seconds, **own):
    return cost_record(
        f"{implementation} {own}",
        operator="input_factor",
        implementation=implementation,
        time_median_s=seconds,
        time_ci_low_s=seconds and 0.9 * seconds,
        time_ci_high_s=seconds and 1.2 * seconds,
        **{
            "layer": "a layer",
            "cache": "cold",
            "visits": 12,
            "rel_error": 1e-7,
            "error_gate": 4e-7,
            "peak_memory_bytes": 2048,
            "percent_of_limit": 40.0,
        }
        | own,
    )


FAST, PLAIN, SLOW = timed("triton_new", 1e-3), timed("unfold_matmul", 3e-3), timed("curvlinops", 6e-3)


def test_each_implementation_stands_beside_the_fastest_other(tmp_path):
    rows = beside_the_fastest_other(results_of(tmp_path, [SLOW, FAST, PLAIN]).cost)
    assert dict(zip(rows["implementation"], rows["fastest_other"], strict=True)) == {
        "triton_new": "unfold_matmul",
        "unfold_matmul": "triton_new",
        "curvlinops": "triton_new",
    }
    speedups = dict(zip(rows["implementation"], rows["speedup"], strict=True))
    assert speedups == pytest.approx({"triton_new": 3, "unfold_matmul": 1 / 3, "curvlinops": 1 / 6})


@pytest.mark.parametrize(
    "own",
    [
        {"layer": "another layer"},
        {"precision": "tf32"},
        {"batch": 2},
        {"cache": "hot"},
        {"visits": 6},
        {"status": "wrong", "time_median_s": None},
    ],
    ids=str,
)
def test_what_differs_is_not_compared(tmp_path, own):
    other = timed("unfold_matmul", 3e-3) | own | {"case_id": "other"}
    rows = beside_the_fastest_other(results_of(tmp_path, [FAST, other]).cost)
    assert rows["speedup"].isna().all()


def test_whole_passes_are_compared_among_themselves(tmp_path):
    records = [FAST, PLAIN, timed("kfc_bench_api", 10e-3), timed("asdl_api", 20e-3)]
    rows = beside_the_fastest_other(results_of(tmp_path, records).cost).set_index("implementation")
    assert rows.loc["kfc_bench_api", ["fastest_other", "speedup"]].tolist() == ["asdl_api", 2.0]
    assert rows.loc["triton_new", "fastest_other"] == "unfold_matmul"


def test_the_operators_table_in_words(tmp_path):
    untried = timed("asdl", None, status="unsupported", reason="asdl is not installed")
    wrong = timed("weight_gradient", None, status="wrong")
    (table,) = operator_tables(results_of(tmp_path, [PLAIN, untried, wrong, timed("triton_new", 1e-3, energy_j=0.5)]))
    assert table.title == "input_factor: time of a call (CPU, no GPU: Some CPU)"
    place = ["a layer", "64", "ieee"]
    assert table.rows == [
        [
            *place,
            "triton_new",
            "1 ms",
            "900 us to 1.2 ms",
            "3x",
            "unfold_matmul (plain formula)",
            "2 KiB",
            "40 %",
            "0.5 J",
        ],
        [
            *place,
            "unfold_matmul (plain formula)",
            "3 ms",
            "2.7 ms to 3.6 ms",
            "0.333x",
            "triton_new",
            "2 KiB",
            "40 %",
            "-",
        ],
        [*place, "weight_gradient (plain formula)", "wrong", *["-"] * 6],
    ]


def test_what_was_visited_too_seldom_is_checked_but_not_timed(tmp_path):
    results = results_of(tmp_path, [timed("triton_new", 1e-3, visits=6), timed("reference", 2e-3, visits=6)])
    assert operator_tables(results) == []
    assert correctness_table(results).rows == [
        ["input_factor", "triton_new", "1", "25 %"],
        ["input_factor", "reference (our plain formula)", "1", "25 %"],
    ]


def test_the_largest_error_is_shown_with_the_counts(tmp_path):
    records = [
        FAST,
        timed("triton_new", 1e-3, batch=2, rel_error=3e-7),
        timed("triton_new", None, batch=4, status="oom"),
    ]
    table = correctness_table(results_of(tmp_path, records))
    assert table.header == ["what", "implementation", "ok", "oom", "largest error, of the allowed"]
    assert table.rows == [["input_factor", "triton_new", "2", "1", "75 %"]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reference", "reference (our plain formula)"),
        ("tensor_unfold", "tensor_unfold (plain formula)"),
        ("nngeometry", "nngeometry (library)"),
        ("nngeometry_api", "nngeometry (library, whole pass)"),
        ("kfc_bench_api", "kfc_bench (ours, whole pass)"),
        ("triton_implicit_gemm", "triton_implicit_gemm"),
    ],
)
def test_names_say_whose_they_are(name, words):
    assert described(name) == words


def test_sections_count_what_was_not_reached(tmp_path):
    records = [FAST, PLAIN, cost_record("x", status="oom"), trial_record("sgd", 1, 6, 0.5)]
    table = sections_table(results_of(tmp_path, records), SESSION)
    assert table.header == ["section", "cases", "ok", "oom", "not reached"]
    assert table.rows == [
        ["cost", "9", "2", "1", "3"],
        ["more", "2", "0", "0", "2"],
        ["convergence", "1", "1", "0", "0"],
    ]


def test_missing_is_said_in_sentences():
    limit, missing = missing_lines(SESSION)
    assert "time limit of 60 s" in limit
    assert "Not reached: 5 cases; by section: cost (3 of 9), more (2 of 2)." in missing
    assert missing_lines(dataclasses.replace(SESSION, ended="complete", sections={"cost": (9, 9)})) == []
    assert "interrupted" in missing_lines(dataclasses.replace(SESSION, ended="interrupted"))[0]
    assert "cut off" in missing_lines(dataclasses.replace(SESSION, ended="cut off"))[0]
    assert len(missing_lines(None)) == 1


def test_reasons_that_differ_in_numbers_are_one(tmp_path):
    def untried(batch, **own):
        words = {"status": "unsupported", "operator": "input_factor", "layer": "a", "implementation": "reference"}
        return cost_record(f"{batch} {own}", batch=batch, **words, **own)

    records = [
        FAST,
        *(untried(batch, reason=f"predicted to need {batch}.5 GiB", predicted_bytes=batch * 2**30) for batch in (1, 2)),
        untried(3, reason="predicted to take 31 s a call", predicted_call_s=31.0),
        trial_record("kfc", 1, None, None, status="diverged", reason="step 17: the loss is nan"),
        trial_record("kfc", 2, None, None, status="diverged", reason="step 3: the loss is nan"),
    ]
    what = "input_factor, reference (our plain formula)"
    assert reasons_table(results_of(tmp_path, records)).rows == [
        ["unsupported", "predicted to need more memory than the limit: not tried", "2", f"{what}, a, batch 1", "-"],
        ["unsupported", "predicted to take longer than the limit: not tried", "1", f"{what}, a, batch 3", "-"],
        ["diverged", "step 17: the loss is nan", "2", "training with kfc, seed 1", "-"],
    ]


def test_no_reason_where_all_is_well(tmp_path):
    assert reasons_table(results_of(tmp_path, [FAST])) is None


def test_the_environment_is_shown_whole(tmp_path):
    results = results_of(tmp_path, [FAST, timed("triton_new", 1.0, precision="tf32")])
    environment = {
        "run_id": "r",
        "device": "A GPU",
        "driver": None,
        "torch_flags": {"cudnn": {"benchmark": True}},
        "gpu": {"memory_bytes": 2**34},
        "datasheet": {"product": "A"},
    }
    assert environment_table(results, environment).rows == [
        ["device", "A GPU"],
        ["torch_flags: cudnn: benchmark", "True"],
        ["gpu: memory_bytes", "16 GiB"],
        ["precision of products", "ieee, tf32: set alike for all that is compared"],
    ]


def test_ceilings_stand_beside_the_data_sheet(tmp_path):
    ceilings = {"ceiling_flops_per_s": 4e14, "ceiling_bytes_per_s": 3e12}
    lower = {"ceiling_flops_per_s": 3e14, "ceiling_bytes_per_s": 2e12}
    results = results_of(tmp_path, [timed("a", 1.0, **ceilings), timed("b", 1.0, **lower)])
    sheet = {"product": "A GPU", "flops_per_s": {"ieee": 5e14}, "bytes_per_s": 4e12}
    table = ceilings_table(results, {"datasheet": sheet})
    assert table.rows == [
        ["float32, ieee", "400 TFLOP/s", "500 TFLOP/s (80 %)", "cold", "3000 GB/s", "4000 GB/s (75 %)"]
    ]
    assert ceilings_table(results, {"datasheet": None}).rows[0][2] == "-"
    assert ceilings_table(results_of(tmp_path / "none", [FAST]), {}) is None


ENVIRONMENT = {"run_id": "run1", "device": "Some CPU", "device_kind": "cpu", "commit": "c0ffee"}


def test_a_report_from_end_to_end(tmp_path):
    records = [FAST, PLAIN, step_record("sgd", (1e-3, 9e-4, 2e-3)), step_record("kfc", (2e-3, 1.8e-3, 3e-3))]
    text = render(results_of(tmp_path, records), ENVIRONMENT, SESSION)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# KFC Bench: mine, variant big",
        "## What was run",
        "## How to read it",
        "## Correctness on this device",
        "## Operators",
        "## Training: the cost of a step, and what it gains",
        "## What is missing",
        "## Environment",
        "## How to reproduce it",
    ]
    for words in (
        "**CPU, no GPU: Some CPU**",
        "they say nothing of a GPU",
        "it took 90 s of measuring in all. Cases by outcome: 4 ok.",
        "No other library was measured in this run",
        "| digits | 64 | kfc | 2 ms | 2x [0.9, 3.33] |",
        "With commit `c0ffee` of KFC Bench",
        "kfc-bench run mine\n",
        "run1/journal.jsonl",
    ):
        assert words in text


def test_trials_are_reported_by_what_they_gained_and_what_tuning_tried(tmp_path):
    tuning = [trained("kfc", 0, 10, 1.0, role="tuning", damping=damping) for damping in (0.01, 0.1)]
    trials = [trained(name, seed, 10, time) for name, time in (("sgd", 4.0), ("kfc", 1.0)) for seed in (1, 2)]
    text = render(results_of(tmp_path, [*tuning, *trials]), ENVIRONMENT, SESSION)
    gained, tried = text.index("## The way to the target"), text.index("## Tuning")
    assert gained < text.index("| kfc | 2 of 2 | - | 10 | 1 | 1 s | 4x faster [4, 4] |") < tried
    assert gained < text.index("| digits | kfc | 64 | 2 s | 1x [1, 1] | yes |") < tried
    assert tried < text.index("| digits | kfc | 0.01 * | 1 | 0.5 | 1 of 1 | - |")


def test_with_a_library_the_plain_formulas_stand_in_for_none(tmp_path):
    assert "No other library" not in render(results_of(tmp_path, [FAST, SLOW]), ENVIRONMENT, SESSION)


def test_a_gpu_is_not_badged_as_a_cpu(tmp_path):
    text = render(results_of(tmp_path, [FAST]), ENVIRONMENT | {"device_kind": "cuda"}, None)
    assert "they say nothing of a GPU" not in text
    assert text.startswith("# KFC Bench\n")


def test_a_run_without_records_has_a_report_too(tmp_path):
    text = render(results_of(tmp_path, []), ENVIRONMENT, SESSION)
    assert "no records" in text
    assert "Not reached: 5 cases" in text


def test_times_with_and_without_launch_latency_are_not_set_beside_each_other(tmp_path):
    hidden = [timed("triton_new", 1e-3, launch_hidden=True), timed("asdl", 4e-3, launch_hidden=True)]
    exposed = [timed("unfold_matmul", 2e-3, launch_hidden=False)]
    rows = beside_the_fastest_other(results_of(tmp_path, hidden + exposed).cost).set_index("implementation")
    assert rows.loc["asdl", "fastest_other"] == "triton_new"
    assert rows.loc["unfold_matmul", "fastest_other"] is None
    assert pd.isna(rows.loc["unfold_matmul", "speedup"])
