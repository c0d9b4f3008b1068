"""Verdicts on libraries whose faults are known, because they are made here."""

from __future__ import annotations

import dataclasses
import math
import warnings

import pytest

from kfc_bench.audit.library import Library, Quotation
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.table import read_csv, to_csv
from kfc_bench.audit.verdicts import Finding, Verdict, judge, without_running
from kfc_bench.audit.worker import observe
from tests.audit import faulty

PLAIN = OPTIONS["plain"]
BASE = Library("faulty", "Faulty", "tests", "faulty", faulty.right, "None.")


def verdict(make, option="stride", **changes):
    """Judge a library that is right on the plain layer and ``make`` on another."""
    library = dataclasses.replace(BASE, blocks=make, **changes)
    plain = observe(BASE, PLAIN)
    return judge(library, OPTIONS[option], observe(library, OPTIONS[option]), plain, "2.0")


def test_what_is_right():
    finding = verdict(faulty.right)
    assert (finding.verdict, finding.blocks, finding.found, finding.expected) == (Verdict.RIGHT, "weight", 216, 216)
    assert finding.rel_error < 1e-12
    assert finding.words() == "right"


def test_a_silent_error_is_found_with_its_size():
    finding = verdict(faulty.ones)
    assert finding.verdict == Verdict.SILENT
    assert finding.rel_error > 0.5
    assert finding.words() == f"wrong, silently ({finding.rel_error:.3g})"


def test_another_shape_is_an_error_without_a_size():
    finding = verdict(faulty.short)
    assert (finding.verdict, finding.rel_error) == (Verdict.SHAPE, None)
    assert finding.words() == "wrong shape (215 rows, not 216)"


def test_another_shape_that_is_documented_is_documented():
    finding = verdict(faulty.short, documented={"stride": Quotation("no strides", "a.b")})
    assert finding.verdict == Verdict.DOCUMENTED


def test_a_block_that_is_not_finite_is_wrong(tmp_path):
    finding = verdict(faulty.nans)
    assert (finding.verdict, finding.rel_error, finding.factor) == (Verdict.SILENT, math.inf, None)
    assert finding.words() == "wrong, silently (inf)"
    (tmp_path / "audit.csv").write_text(to_csv([finding]))
    assert read_csv(tmp_path / "audit.csv") == [finding]


def test_a_plain_layer_that_is_not_finite_is_not_right():
    library = dataclasses.replace(BASE, blocks=faulty.nans)
    plain = observe(library, PLAIN)
    assert judge(library, PLAIN, plain, plain, "").verdict == Verdict.BROKEN


@pytest.mark.parametrize("option", ["bias_apart", "bias_joint"])
def test_right_blocks_are_not_enough_where_others_were_asked_for(option):
    finding = verdict(faulty.right, option)
    assert (finding.verdict, finding.words()) == (Verdict.LEFT_OUT, "left out (came: weight)")


def test_blocks_are_right_where_all_came_that_were_asked_for():
    assert verdict(faulty.apart, "bias_apart").verdict == Verdict.RIGHT
    assert verdict(faulty.apart, "bias_joint").words() == "left out (came: weight, bias)"
    assert verdict(faulty.right, "frozen_bias").words() == "right"


def test_a_constant_is_told_from_an_error():
    finding = verdict(faulty.thrice)
    assert (finding.verdict, finding.factor) == (Verdict.SCALED, 3)
    assert finding.words() == "right but for a constant (3)"


def test_an_error_that_is_warned_of_is_not_silent():
    finding = verdict(faulty.warning)
    assert (finding.verdict, finding.detail) == (Verdict.WARNS, "UserWarning: stride is not supported")


def test_a_warning_that_the_plain_layer_gives_too_is_no_word_about_the_option():
    library = dataclasses.replace(BASE, blocks=faulty.warning)
    record = observe(library, OPTIONS["stride"])
    plain = {**observe(BASE, PLAIN), "said": record["said"]}
    assert judge(library, OPTIONS["stride"], record, plain, "").verdict == Verdict.SILENT


@pytest.mark.parametrize("make", [faulty.logging_it, faulty.printing_it], ids=lambda make: make.__name__)
def test_a_line_in_the_log_or_on_the_screen_is_a_warning_too(make):
    finding = verdict(make)
    assert finding.verdict == Verdict.WARNS
    assert "stride is not supported" in finding.detail


def test_a_layer_left_out_with_a_word_has_the_word():
    finding = verdict(faulty.leaving_with_a_word)
    assert (finding.verdict, finding.detail) == (Verdict.LEFT_OUT, "UserWarning: not this layer")


def test_an_error_that_is_documented_is_not_silent():
    finding = verdict(faulty.ones, documented={"stride": Quotation("no strides", "a.b")})
    assert (finding.verdict, finding.detail) == (Verdict.DOCUMENTED, '"no strides" (docstring of a.b)')


def test_documentation_of_one_option_excuses_no_other():
    assert verdict(faulty.ones, documented={"dilation": Quotation("no dilation", "a.b")}).verdict == Verdict.SILENT


def test_the_worst_block_decides():
    finding = verdict(faulty.wrong_bias, "bias_apart")
    assert (finding.verdict, finding.blocks) == (Verdict.SILENT, "weight, bias")
    assert finding.found == 6


def test_a_layer_without_a_block_is_left_out():
    finding = verdict(faulty.nothing)
    assert (finding.verdict, finding.words()) == (Verdict.LEFT_OUT, "left out")


def test_an_exception_of_the_library_is_a_refusal():
    finding = verdict(faulty.raising, module="torch")
    assert finding.verdict == Verdict.REFUSES
    assert finding.words() == "refuses (RuntimeError)"
    assert "\n" not in finding.detail


def test_an_exception_of_the_audits_own_lines_is_no_refusal():
    finding = verdict(faulty.raising, module="pandas")
    assert finding.verdict == Verdict.BROKEN
    assert "don't multiply up" in finding.detail
    assert verdict(faulty.raising, module="pandas", option="plain").verdict == Verdict.BROKEN


def test_a_module_of_one_file_is_not_its_whole_folder():
    assert verdict(faulty.raising, module="typing_extensions").verdict == Verdict.BROKEN


def test_a_name_that_another_version_does_not_have_leaves_its_option_alone_unjudged():
    finding = verdict(faulty.with_another_version)
    assert finding.verdict == Verdict.BROKEN
    assert finding.detail.startswith("AttributeError: module 'torch' has no attribute")
    assert verdict(faulty.with_another_version, "dilation").verdict == Verdict.RIGHT


def test_where_the_plain_layer_fails_nothing_is_said():
    library = dataclasses.replace(BASE, blocks=faulty.ones)
    plain = observe(library, PLAIN)
    assert judge(library, OPTIONS["stride"], plain, plain, "").verdict == Verdict.BROKEN


def test_what_needs_no_run():
    library = dataclasses.replace(BASE, lacks={"reduce": "one form"})
    lacking = without_running(library, OPTIONS["reduce"], "2.0")
    assert (lacking.verdict, lacking.detail) == (Verdict.NONE, "one form")
    absent = without_running(dataclasses.replace(library, module="nothing_of_this_name"), OPTIONS["plain"], "2.0")
    assert (absent.verdict, absent.version, absent.detail) == (Verdict.MISSING, "", "pip install faulty")
    assert without_running(library, OPTIONS["plain"], "2.0") is None


def test_the_frozen_bias_in_the_block_is_said():
    finding = Finding("a", "1", "2", "frozen_bias", Verdict.RIGHT, "weight and bias", detail="the bias too")
    assert finding.words() == "right (the bias too)"


def test_an_observation_leaves_the_warnings_of_others_alone():
    before = warnings.filters[:]
    observe(BASE, PLAIN)
    assert warnings.filters == before
