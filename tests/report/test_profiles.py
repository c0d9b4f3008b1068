import pandas as pd
import pytest

from kfc_bench.report.document import render
from kfc_bench.report.export import export_csv
from kfc_bench.report.profiles import layers_table, phases_table, steps_table, sum_line
from kfc_bench.report.summary import tables
from kfc_bench.report.tables import health_line
from kfc_bench.results.schema import PROFILE_COLUMNS, PROFILE_PART_COLUMNS
from tests.helpers import ENVIRONMENT_NOW, cost_record, results_of

COMMON = {key: cost_record()[key] for key in ("schema", "run_id", "env_id", "device", "dtype", "precision", "batch")}


def row(phase, layer, call_s, every=1, **own):
    return {
        "layer": layer,
        "kind": "Conv2d" if layer else "",
        "phase": phase,
        "call_s": call_s,
        "every": every,
        "per_step_s": call_s / every,
        "shared": phase == "inverse",
        "peak_bytes": 2048,
        "held_bytes": 0,
        **own,
    }


PARTS = [
    row("forward", "", 1e-3),
    row("forward", "conv1", 3e-3),
    row("forward", "conv2", 4e-3),
    row("inverse", "conv1", 20e-3, 20),
    row("inverse", "conv2", 20e-3, 20),
]


def profile_record(approximation="kfc", **own):
    return {
        **COMMON,
        "case_id": f"{approximation} {own.get('clip')}",
        "experiment": "profile",
        "section": "profile",
        "network": "cifar10",
        "input": "3x32x32",
        "approximation": approximation,
        "implementation": "auto",
        "layout": "contiguous",
        "statistics_every": 10,
        "inverses_every": 20,
        "status": "ok",
        "step_s": 10.1e-3,
        "parts_s": 10e-3,
        "parts_share": 10 / 10.1,
        "other_s": 1e-5,
        "marked_step_s": 10.2e-3,
        "suspect": False,
        "peak_memory_bytes": 4096,
        "visits": 6,
        "parts": PARTS,
        "steps": [{"statistics": True, "inverses": True, "share": 0.05, "step_s": 0.05}],
        **own,
    }


@pytest.fixture
def results(tmp_path):
    odd = profile_record(clip=0.3, suspect=True, parts_share=0.9, reason="the parts add up to 90.0 %")
    sgd = profile_record("sgd", parts=PARTS[:3], statistics_every=None, inverses_every=None)
    return results_of(
        tmp_path / "results", [sgd, profile_record(), odd, profile_record("exact", status="oom", parts=[])]
    )


def own(results, approximation="kfc"):
    rows = results.profile
    return rows[(rows["approximation"] == approximation) & rows["clip"].isna()]


def test_by_phase(results):
    table = phases_table(own(results), "a device")
    assert table.title == "kfc on cifar10, batch 64, contiguous by phase (a device)"
    assert table.rows == [
        ["forward", "8 ms", "step", "8 ms", "79.2 %", "2 KiB"],
        ["inverse", "40 ms", "20 steps", "2 ms", "19.8 %", "2 KiB"],
        ["together", "", "", "10 ms", "99.0 %", ""],
    ]


def test_by_layer(results):
    table = layers_table(own(results), "a device")
    assert "inverse divided by counted work" in table.title
    assert table.rows == [
        ["conv2", "Conv2d", "4 ms", "1 ms", "5 ms", "49.5 %"],
        ["conv1", "Conv2d", "3 ms", "1 ms", "4 ms", "39.6 %"],
        ["no layer's", "", "1 ms", "-", "1 ms", "9.9 %"],
        ["together", "", "8 ms", "2 ms", "10 ms", "99.0 %"],
    ]
    few = layers_table(own(results), "a device", most=1)
    assert [row[0] for row in few.rows] == ["conv2", "1 more", "no layer's", "together"]
    assert few.rows[1][-2] == "4 ms"
    assert layers_table(own(results), "a device", most=None).rows == table.rows


def test_steps_beside_each_other(results):
    table = steps_table(results)
    assert "statistics every 10, inverses every 20 steps" in table.title
    found = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert [entry["optimizer"] for entry in found] == ["sgd", "kfc", "kfc, clip 0.3"]
    assert [entry["inverse"] for entry in found] == ["-", "2 ms", "2 ms"]
    assert found[1]["inverses, a refresh"] == "40 ms"
    assert [entry["parts / step"] for entry in found] == ["99.0 %", "99.0 %", "90.0 % SUSPECT"]
    assert table.title in [shown.title for shown in tables(results)]


def test_the_sum_is_said_in_words(results):
    lines = [sum_line(row) for _, row in results.profiles.iterrows()]
    assert lines[0].startswith("The parts add up to 99.0 % of the measured step of 10.1 ms; 10 us")
    assert "SUSPECT" not in lines[0]
    assert "SUSPECT: that is not within 5 %" in lines[2]


def test_without_profiles_there_is_no_table(tmp_path):
    assert steps_table(results_of(tmp_path, [cost_record()])) is None


def test_the_report_and_the_csv_hold_them(results, tmp_path):
    text = render(results, ENVIRONMENT_NOW | {"run_id": "r"}, None)
    assert "## Where a step's time goes" in text
    assert "profile of exact" in text
    assert health_line(results) == "3 ok, 1 oom"
    assert export_csv(results, tmp_path) == [tmp_path / "profiles.csv", tmp_path / "profile.csv"]
    assert tuple(pd.read_csv(tmp_path / "profiles.csv").columns) == PROFILE_COLUMNS
    parts = pd.read_csv(tmp_path / "profile.csv")
    assert tuple(parts.columns) == PROFILE_PART_COLUMNS
    assert len(parts) == len(PARTS) * 2 + 3
