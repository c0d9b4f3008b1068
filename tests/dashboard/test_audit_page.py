from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.script import script
from kfc_bench.audit.table import committed, matrix, read_csv, to_csv
from kfc_bench.audit.verdicts import WRONG, Verdict


def words(app):
    return " ".join(element.value for element in [*app.caption, *app.info, *app.error, *app.markdown]).replace("\\", "")


def test_the_matrix_is_the_committed_audit(open_page, results_folder):
    app = open_page(results_folder, page="audit")
    assert not app.exception
    assert app.title[0].value == "Audit"
    table = matrix(read_csv(committed()))
    shown = app.dataframe[0].value
    assert list(shown.columns) == table.header[1:]
    assert shown.reset_index().to_numpy().tolist() == table.rows
    for library in LIBRARIES.values():
        assert (
            f"{library.title} {read_csv(committed())[0].version if library.name == 'kfc_bench' else ''}".strip()
            in words(app)
        )
    assert "**wrong, silently**: a block of the layer's size comes back" in words(app)


def test_a_cell_shows_its_verdict_and_its_lines(open_page, results_folder):
    app = open_page(results_folder, page="audit")
    app.selectbox(key="library").set_value("curvlinops").run()
    app.selectbox(key="option").set_value("circular").run()
    assert not app.exception
    assert app.code[0].value == script(LIBRARIES["curvlinops"], OPTIONS["circular"]).strip()
    assert "wrong, silently (0.289)" in words(app)
    assert OPTIONS["circular"].asks in words(app)


def test_what_is_wrong_is_offered_first(open_page, results_folder):
    app = open_page(results_folder, page="audit", library="ASDL 0.1a5")
    assert app.selectbox(key="library").value == "asdl"
    assert app.selectbox(key="option").value == "circular"
    assert len(app.selectbox(key="option").options) == len(OPTIONS)


def test_a_quantity_that_a_library_has_not_has_a_reason_and_no_lines(open_page, results_folder):
    app = open_page(results_folder, page="audit")
    app.selectbox(key="library").set_value("backpack").run()
    app.selectbox(key="option").set_value("reduce").run()
    assert not app.exception
    assert not app.code
    assert LIBRARIES["backpack"].lacks["reduce"] in words(app)


def test_findings_of_two_versions_of_torch_are_shown(open_page, results_folder, tmp_path):
    findings = [finding for finding in read_csv(committed()) if finding.option in ("plain", "stride")]
    findings = [replace(finding, torch="3.0" if finding.option == "stride" else "2.9") for finding in findings]
    (tmp_path / "audit.csv").write_text(to_csv(findings))
    app = open_page(results_folder, tmp_path, page="audit")
    assert not app.exception
    assert "torch 2.9, 3.0" in words(app)


def test_an_audit_in_a_results_folder_is_shown_in_the_committed_ones_place(open_page, results_folder, tmp_path):
    findings = [finding for finding in read_csv(committed()) if finding.library in ("kfc_bench", "asdl")]
    (tmp_path / "audit.csv").write_text(to_csv(findings[:-1]))
    app = open_page(results_folder, tmp_path, page="audit")
    assert not app.exception
    assert len(app.dataframe[0].value.columns) == 2
    assert app.dataframe[0].value.iloc[-1, -1] == "-"
    assert list(app.selectbox(key="library").options) == [f"KFC Bench {findings[0].version}", "ASDL 0.1a5"]


@pytest.mark.parametrize("text", ["nonsense\n1\n", to_csv([])])
def test_a_damaged_or_empty_audit_is_said_to_be_so(open_page, results_folder, tmp_path, text):
    (tmp_path / "audit.csv").write_text(text)
    app = open_page(results_folder, tmp_path, page="audit")
    assert not app.exception
    assert "not an audit's CSV" in words(app) or "no findings" in words(app)
    assert not app.dataframe


def test_the_shown_findings_are_offered_as_csv(open_page, results_folder, monkeypatch):
    import streamlit as st

    offered = {}
    monkeypatch.setattr(st, "download_button", lambda _, data, *, file_name, **__: offered.update({file_name: data}))
    open_page(results_folder, page="audit")
    frame = pd.read_csv(io.BytesIO(offered["audit.csv"]))
    assert len(frame) == len(read_csv(committed()))


def test_colours_come_with_words():
    from kfc_dashboard.audit import COLOURS, styled

    assert {*WRONG, Verdict.RIGHT, Verdict.REFUSES} == set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)
    html = styled(read_csv(committed())).to_html()
    for verdict in (Verdict.SILENT, Verdict.RIGHT, Verdict.SCALED, Verdict.DOCUMENTED):
        assert f"background-color: {COLOURS[verdict][0]}" in html


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_are_readable_on_their_colours():
    from kfc_dashboard.audit import COLOURS

    for background, text in COLOURS.values():
        lighter, darker = sorted((luminance(background), luminance(text)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
