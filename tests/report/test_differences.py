import csv
import io

import pytest

from kfc_bench.report.differences import count_line, differences, failing, ratio_of, render, to_frame
from kfc_bench.report.history import BetweenRuns
from kfc_bench.report.verdicts import StoredRatio, UnknownRatio, Verdict, parse_policy
from tests.helpers import cost_record

STEADY = [1.0, 1.001, 0.999, 1.002, 0.998, 1.0, 1.001, 0.999]
HISTORY = BetweenRuns(shared=1e-4, pooled=1e-4, own={}, runs=10, cases=50)


def timed(case_id="a", factor=1.0, group=None, **own):
    visits = [factor * value for value in STEADY]
    return cost_record(
        case_id,
        operator="input_factor",
        time_median_s=factor,
        time_ci_low_s=0.999 * factor,
        time_ci_high_s=1.001 * factor,
        visit_medians_s=visits,
        visit_group=group,
        last_round=len(STEADY),
        **own,
    )


def failed(case_id="a", status="crashed"):
    return cost_record(case_id, operator="input_factor", status=status, reason="it fell")


def compared(*pairs, history=None):
    sides = [{pair[place]["case_id"]: pair[place] for pair in pairs} for place in (0, 1)]
    return differences(*sides, history)


def test_visits_of_the_same_rounds_are_paired():
    (found,) = compared((timed(group="g"), timed(factor=1.2, group="g")))
    assert found.verdict is Verdict.SLOWER
    assert found.ratio.ratio == pytest.approx(1.2)


def test_runs_apart_need_a_history():
    assert isinstance(ratio_of(timed(), timed(factor=1.5), None), UnknownRatio)
    (found,) = compared((timed(group="g"), timed(factor=1.5, group="h")))
    assert (found.verdict, found.reason) == (Verdict.UNCLEAR, "no history of repeated runs")


def test_the_history_widens_what_the_runs_say_of_themselves():
    ratio = ratio_of(timed(), timed(factor=1.2), HISTORY)
    assert isinstance(ratio, StoredRatio)
    own = 2 * (2e-3 / 3.92) ** 2
    assert ratio.deviation**2 == pytest.approx(2 * 2e-4 + own, rel=0.01)
    (found,) = compared((timed(), timed(factor=1.2)), history=HISTORY)
    assert found.verdict is Verdict.SLOWER


def test_too_few_common_rounds_are_no_pairing():
    short = timed(group="g") | {"visit_medians_s": STEADY[:5], "last_round": 5}
    assert isinstance(ratio_of(timed(group="g"), short, None), UnknownRatio)


def test_a_run_without_an_interval_says_nothing():
    vague = timed() | {"time_ci_low_s": None, "time_ci_high_s": None}
    assert isinstance(ratio_of(vague, timed(), HISTORY), UnknownRatio)


def test_a_case_that_lost_its_time_is_broken_and_the_other_way_round_mended():
    found = compared((timed("a"), failed("a")), (failed("b"), timed("b")), (failed("c"), failed("c")))
    assert {entry.case_id: entry.verdict for entry in found} == {"a": Verdict.BROKEN, "b": Verdict.MENDED}
    assert found[0].reason == "crashed: it fell"
    assert [entry.case_id for entry in failing(found, [parse_policy("slower:50%")])] == ["a"]
    assert failing(found, []) == []


def test_a_case_that_b_does_not_have_is_missing():
    (found,) = differences({"a": timed("a"), "f": failed("f")}, {"b": timed("b")}, None)
    assert (found.case_id, found.verdict, found.a_s, found.b_s) == ("a", Verdict.MISSING, 1.0, None)
    assert failing([found], [parse_policy("missing")]) == [found]
    assert failing([found], [parse_policy("slower")]) == []
    assert count_line([]) == "no case to compare"


def test_the_table_puts_first_what_matters_most():
    found = compared(
        (timed("same", group="g"), timed("same", group="g")),
        (timed("slow", group="h"), timed("slow", factor=1.2, group="h")),
        (timed("lost"), failed("lost")),
    )
    markdown = render(found, "new against old", "markdown")
    assert [line.split("|")[6].strip() for line in markdown.splitlines()[4:]] == ["BROKEN", "SLOWER", "SAME"]
    rows = list(csv.DictReader(io.StringIO(render(found, "new against old", "csv"))))
    assert {row["case_id"]: row["verdict"] for row in rows} == {"same": "SAME", "slow": "SLOWER", "lost": "BROKEN"}
    assert float(rows[1]["ratio_low"]) > 1.1
    assert "crashed: it fell" in render(found, "new against old", "terminal")
    assert count_line(found) == "1 SAME, 1 SLOWER, 1 BROKEN"


def test_no_difference_has_the_same_columns():
    assert list(to_frame([]).columns) == list(to_frame(compared((timed(), timed()))).columns)
