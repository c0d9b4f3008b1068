import random
import textwrap
from types import SimpleNamespace

import pytest

from kfc_bench.errors import UserError
from kfc_bench.report.differences import differences
from kfc_bench.report.verdicts import Verdict
from kfc_bench.runner.checkouts import Rounds, Side, compare_case
from kfc_bench.runner.visitor import Session
from tests.experiments.cost_cases import cost_case

STEADY, NOISY = [1.0] * 100, [1.0, 2.0] * 50
RAGGED = [1.0 + 0.1 * (7 * index % 11) for index in range(100)]


@pytest.mark.parametrize(
    ("rounds", "values", "count"),
    [
        (Rounds(least=20), STEADY, 20),
        (Rounds(least=6), STEADY, 6),
        (Rounds(most=33, seconds=1e9), RAGGED, 33),
        (Rounds(least=8, seconds=30.0), NOISY, 10),
    ],
    ids=["half-width", "least", "most", "seconds"],
)
def test_when_two_revisions_have_been_visited_often_enough(rounds, values, count):
    def enough(visits):
        return rounds.enough(STEADY[:visits], values[:visits], spent_s=sum(values[:visits]) * 2)

    assert next(visits for visits in range(1, 100) if enough(visits)) == count


def side(folder, body):
    """Make a side whose visitor is a fake: it says who it is, then does as told."""
    package = folder / "kfc_bench" / "runner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    head = """
    import json, os, sys, time
    from multiprocessing import connection
    file, device, incoming, outgoing = sys.argv[1:]
    receive, send = connection.Connection(int(incoming)), connection.Connection(int(outgoing))
    def reply(**message): send.send_bytes(json.dumps(message).encode())
    while True:
        message = json.loads(receive.recv_bytes())
    """
    text = textwrap.dedent(head) + textwrap.indent(textwrap.dedent(body), "    ")
    (package / "visitor.py").write_text(text)
    return Side("a revision", folder, folder / "suite.toml", "cpu")


WELL = """
if message["do"] == "open": reply(open=True); visits = 0
elif message["do"] == "visit": reply(seconds=0.5); visits += 1
else: reply(record={"status": "ok", "time_median_s": 0.5} if visits else {"status": "crashed"})
"""
DIES = """
if message["do"] == "open": reply(open=True)
else: sys.exit("no more")
"""
HANGS = """
if message["do"] == "open": reply(open=True)
else: time.sleep(60)
"""
DECLINES = 'reply(record={"status": "unsupported", "reason": "not this one"})'


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (WELL, "ok", None),
        (DIES, "crashed", "exit code 1: no more"),
        (HANGS, "timeout", "no sign of life"),
        (DECLINES, "unsupported", "not this one"),
    ],
    ids=["well", "dies", "hangs", "declines"],
)
def test_whatever_one_side_does_the_other_has_its_record(tmp_path, body, status, reason):
    sides = [side(tmp_path / "a", WELL), side(tmp_path / "b", body)]
    case = SimpleNamespace(timeout_s=2.0, columns=lambda: {"batch": 4}, case_id="c")
    try:
        for _ in range(2):
            a, b = compare_case(0, case, sides, Rounds(least=6), random.Random(0))
            assert (a["status"], b["status"]) == ("ok", status)
            assert reason is None or reason in b["reason"]
            assert a["batch"] == b["batch"] == 4
            assert a["visit_group"] == b["visit_group"]
    finally:
        for each in sides:
            each.stop()


class Within:
    """A side in this process: a real session of one case."""

    def __init__(self, case):
        self._session = Session([case])

    def ask(self, _, **message):
        return self._session.answer(message)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_case_that_one_revision_cannot_open_keeps_the_other_s_time(broken):
    good = cost_case(operator="input_factor")
    bad = cost_case(operator="input_factor", implementation="triton_implicit_gemm", dtype="float64")
    sides = [Within(bad if place == broken else good) for place in (0, 1)]
    records = compare_case(0, good, sides, Rounds(), random.Random(0))
    assert records[broken]["status"] == "unsupported"
    assert records[1 - broken]["status"] == "ok"
    (found,) = differences(*({"c": record} for record in records), None)
    assert found.verdict is (Verdict.BROKEN if broken else Verdict.MENDED)


def test_a_revision_that_knows_no_such_thing_is_named(tmp_path):
    (tmp_path / "kfc_bench").mkdir()
    (tmp_path / "kfc_bench" / "__init__.py").touch()
    with pytest.raises(UserError, match=r"'old' cannot be compared: .*No module named .*; it must not be older"):
        Side("old", tmp_path, tmp_path / "suite.toml", "cpu").cases()


def test_a_revision_is_measured_from_its_own_folder(tmp_path):
    elsewhere = side(tmp_path / "a", 'reply(file="/usr/lib/kfc_bench/__init__.py", cases=[])')
    try:
        with pytest.raises(UserError, match="would be measured instead of"):
            elsewhere.cases()
    finally:
        elsewhere.stop()


def test_a_session_answers_for_its_cases():
    session = Session([cost_case(operator="input_factor"), cost_case(approximation="exact", phase="refresh", batch=2)])
    assert [label for label, _ in session.answer({"do": "list"})["cases"]] == [
        "input_factor, plain, batch 8",
        "exact refresh, plain, batch 2",
    ]
    assert session.answer({"do": "open", "index": 0}) == {"open": True}
    assert all(session.answer({"do": "visit"})["seconds"] > 0 for _ in range(6))
    record = session.answer({"do": "close"})["record"]
    assert (record["status"], record["visits"]) == ("ok", 6)


def test_a_session_reports_what_does_not_open():
    declined = cost_case(approximation="exact", phase="refresh", memory_limit_bytes=1000)
    impossible = cost_case(operator="input_factor", implementation="triton_implicit_gemm", dtype="float64")
    session = Session([declined, impossible])
    for index in range(2):
        assert session.answer({"do": "open", "index": index})["record"]["status"] == "unsupported"
