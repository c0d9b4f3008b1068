from __future__ import annotations

import io
import json

import pandas as pd
import pyarrow as pa
import pytest

from tests.dashboard.folders import COSTS, TRIALS, cost, trial, write_run


def drawn(app):
    """Return the specifications of the page's charts, and the rows that each draws."""
    assert not app.exception
    charts = []
    for element in app.get("vega_lite_chart"):
        rows = [pa.ipc.open_stream(dataset.data.data).read_pandas() for dataset in element.proto.datasets]
        charts.append((json.loads(element.proto.spec), pd.concat(rows, ignore_index=True)))
    return charts


def titles(app):
    return [f"{spec['title']['text']}, {spec['title']['subtitle']}" for spec, _ in drawn(app)]


def words(app):
    return " ".join(element.value for element in [*app.caption, *app.info, *app.error, *app.warning])


def test_cost_page(open_page, results_folder):
    app = open_page(results_folder)
    assert titles(app) == ["Time of step, network digits", "Peak memory of step, network digits"]
    spec, rows = drawn(app)[0]
    assert {
        layer["encoding"]["y"]["scale"]["type"] for layer in spec["layer"] if "scale" in layer["encoding"]["y"]
    } == {"log"}
    kfc = rows[rows["label"] == "KFC"]
    assert set(kfc["value"]) == {0.002, 0.008}
    assert sorted(set(kfc["low"])) == pytest.approx([0.0018, 0.0072])
    assert app.get("vega_lite_chart")[0].proto.alt.startswith("Time of step, network digits, time against batch")


@pytest.mark.parametrize("page", ["cost", "convergence"])
def test_every_page_says_where_and_how_well(open_page, results_folder, page):
    app = open_page(results_folder, page=page)
    assert not app.exception
    (health,) = app.warning
    assert health.value == "Cases and trials: 28 ok, 1 wrong, 1 diverged, 1 unsupported"
    provenance = next(element.value for element in app.markdown if "badge" in element.value)
    assert provenance.startswith(
        r":orange-badge[CPU, no GPU] :small[Test \[CPU\], 2 threads · torch 2\.13\.0 · triton 3\.7\.1"
    )
    assert "commit 89abcdef" in provenance


def test_a_layer_and_its_phases(open_page, results_folder):
    app = open_page(results_folder, of="layer digits.conv2")
    assert titles(app) == [
        f"{measure} of {phase}, layer digits.conv2"
        for measure in ("Time", "Peak memory")
        for phase in ("accumulate", "refresh")
    ]
    _, rows = drawn(app)[2]
    assert set(rows.loc[rows["status"] == "unsupported", "value"]) == {2.0**32}
    assert all(word in words(app) for word in ("**Hollow**", "On the bottom edge", "**refresh**: turn"))
    app.pills(key="phase").set_value(["accumulate"]).run()
    assert len(drawn(app)) == 2


def test_relative_to_sgd(open_page, results_folder):
    app = open_page(results_folder, scale="relative to SGD", approximation="KFC")
    spec, rows = drawn(app)[0]
    assert list(rows.loc[rows["label"] == "KFC", "value"].unique()) == [2.0]
    assert "label" in rows
    assert set(rows["label"].dropna()) == {"KFC"}
    assert spec["layer"][0]["mark"]["strokeDash"] == [4, 4]
    assert "never too narrow" in words(app)
    assert "time_ratio" in app.dataframe[-1].value


@pytest.mark.parametrize("page", ["cost", "convergence"])
def test_a_link_chooses_approximations_on_either_page(open_page, results_folder, page):
    app = open_page(results_folder, page=page, approximation=["KFC", "exact"])
    assert app.pills(key="approximation").value == ["kfc", "exact"]
    assert set(drawn(app)[0][1]["label"].dropna()) == {"KFC", "exact"}


@pytest.mark.parametrize(
    ("query", "axis", "title"),
    [
        ({}, "step", "test error"),
        ({"against": "seconds", "measure": "loss"}, "seconds", "test loss"),
        ({"split": "train"}, "step", "train error"),
        ({"split": "validation"}, "step", "validation error"),
    ],
)
def test_convergence_page(open_page, results_folder, query, axis, title):
    ((spec, rows),) = drawn(open_page(results_folder, page="convergence", **query))
    line = spec["layer"][1]["encoding"]
    assert (line["x"]["field"], line["y"]["title"]) == (axis, title)
    sgd = rows[(rows["label"] == "SGD") & (rows["step"] == 40)].iloc[0]
    assert sgd["value"] == pytest.approx(0.06 * (2 if "loss" in title else 1))
    assert sgd["seconds"] == pytest.approx(4.8)
    goals = rows["words"].dropna().unique().tolist() if "words" in rows else []
    assert goals == ([] if "loss" in title else ["target 0.25"])


def test_convergence_tables(open_page, results_folder):
    app = open_page(results_folder, page="convergence")
    _, target, counts, _ = (frame.value for frame in app.dataframe)
    table = target.set_index("approximation")
    assert table.loc["KFC", ["reached", "steps_to_target", "on_edge"]].tolist() == ["2 of 3", 20, True]
    assert pd.isna(table.loc["exact", "seconds_to_target"])
    assert counts["trials"].tolist() == [3, 2]
    assert "Time to target: test error ≤ 0.25" in [element.value for element in app.subheader]


@pytest.mark.parametrize(
    ("records", "page", "message"),
    [
        (TRIALS, "cost", "no cost records"),
        (COSTS, "convergence", "no convergence records"),
        ([trial("sgd", "tuning", 0, 30)], "convergence", "No reporting trial of this choice is in yet"),
        ([], "cost", "no records in it"),
        ([cost("kfc", "step", 64, time_median_s="soon", peak_memory_bytes=[1])], "cost", "No time was measured"),
    ],
)
def test_what_is_missing_is_said(open_page, tmp_path, records, page, message):
    app = open_page(write_run(tmp_path, records), page=page)
    assert not app.exception
    assert message in words(app)


def empty(folder):
    folder.mkdir(exist_ok=True)


def damaged(folder):
    (journal,) = write_run(folder).glob("*/journal.jsonl")
    journal.write_text("{}\n" + journal.read_text())


def newer(folder):
    (path,) = write_run(folder).glob("*/environment.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))


@pytest.mark.parametrize("page", ["cost", "convergence"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "no records in it"),
        (lambda _: None, "no such results folder"),
        (damaged, "the file is damaged"),
        (newer, "schema version 2"),
    ],
)
def test_a_folder_that_cannot_be_read(open_page, tmp_path, make, message, page):
    make(tmp_path / "results")
    app = open_page(tmp_path / "results", page=page)
    assert not app.exception
    (error,) = app.error
    assert message in error.value.replace("\\", "")
    assert "\n" not in error.value


def test_an_unknown_approximation_is_drawn(open_page, tmp_path):
    app = open_page(write_run(tmp_path, [cost("*new*<b>", "step", 64), trial("*new*<b>", "report", 1, 20)]))
    assert set(drawn(app)[0][1]["label"]) == {"*new*<b>"}
    assert len(drawn(app.switch_page("app_pages/convergence.py").run())) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"of": "layer ../../etc"},
        {"scale": "<script>alert(1)</script>"},
        {"approximation": ["KFC", "'; DROP"]},
        {"run": "x" * 5000},
        {"nonsense": "1"},
    ],
)
@pytest.mark.parametrize("page", ["cost", "convergence"])
def test_a_broken_link_opens_the_page(open_page, results_folder, query, page):
    assert drawn(open_page(results_folder, page=page, **query))


@pytest.mark.parametrize("page", ["cost", "convergence"])
def test_nothing_chosen(open_page, results_folder, page):
    app = open_page(results_folder, page=page)
    app.pills(key="approximation").set_value([]).run()
    assert not app.exception
    assert "Nothing was measured for this choice" in words(app)


def test_several_runs_are_chosen_by_name(open_page, tmp_path):
    write_run(tmp_path / "a", [cost("kfc", "step", 64)])
    write_run(tmp_path / "b", [cost("sgd", "step", 64)], device="another", device_kind="cuda")
    app = open_page(tmp_path)
    seen = {}
    assert not app.exception
    for run in app.selectbox(key="run").options:
        app.selectbox(key="run").set_value(run).run()
        badge = next(element.value for element in app.markdown if "badge" in element.value)
        seen[badge.split("]")[0]] = set(drawn(app)[0][1]["label"])
    assert seen == {":green-badge[GPU": {"SGD"}, ":orange-badge[CPU, no GPU": {"KFC"}}


def test_a_run_that_grows_is_read_again(open_page, tmp_path):
    folder = write_run(tmp_path, [cost("kfc", "step", 64)])
    app = open_page(folder)
    assert set(drawn(app)[0][1]["batch"]) == {64}
    (journal,) = folder.glob("*/journal.jsonl")
    record = json.loads(journal.read_text())
    journal.write_text(
        "".join(json.dumps({**record, "batch": batch, "case_id": str(batch)}) + "\n" for batch in (64, 128))
    )
    assert set(drawn(app.run())[0][1]["batch"]) == {64, 128}


def test_the_committed_results_without_a_folder(open_page):
    app = open_page()
    assert not app.exception
    assert "these are the committed results" in words(app)


def test_the_shown_rows_are_offered_as_csv(open_page, results_folder, monkeypatch):
    import streamlit as st

    offered = {}
    monkeypatch.setattr(st, "download_button", lambda _, data, *, file_name, **__: offered.update({file_name: data}))
    app = open_page(results_folder, approximation="KFC")
    app.switch_page("app_pages/convergence.py").run()
    assert not app.exception
    assert list(offered) == ["cost.csv", "curves.csv", "time_to_target.csv", "tuning.csv"]
    frame = pd.read_csv(io.BytesIO(offered["cost.csv"]))
    assert frame["time_median_s"].tolist() == [0.002, 0.008]
    assert frame["approximation"].unique().tolist() == ["kfc"]
