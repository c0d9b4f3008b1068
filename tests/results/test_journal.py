import json
import os
from pathlib import Path

import pytest

from kfc_bench.errors import UserError
from kfc_bench.results.journal import Journal, TornLineWarning, read_journal
from tests.helpers import cost_record

RECORDS = [cost_record("a"), cost_record("b", reason='a "quoted"\nline, \u00fc'), cost_record("c", batch=2)]
WHOLE = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
KEPT = WHOLE[: WHOLE.rindex(b"\n", 0, -1) + 1]


def write(path, records):
    with Journal(path) as journal:
        for record in records:
            journal.append(record)


def damaged(path, line):
    lines = WHOLE.splitlines(keepends=True)
    lines[1] = line + b"\n"
    path.write_bytes(b"".join(lines))


def test_round_trip(tmp_path):
    write(tmp_path / "journal", RECORDS)
    assert read_journal(tmp_path / "journal") == RECORDS


def test_an_opened_journal_goes_on_where_it_ended(tmp_path):
    write(tmp_path / "journal", RECORDS[:1])
    write(tmp_path / "journal", RECORDS[1:])
    assert read_journal(tmp_path / "journal") == RECORDS


def test_a_record_is_on_the_disk_before_the_next_begins(tmp_path):
    journal = Journal(tmp_path / "journal")
    for number, record in enumerate(RECORDS, start=1):
        journal.append(record)
        assert read_journal(tmp_path / "journal") == RECORDS[:number]
    journal.close()


@pytest.mark.parametrize("size", range(len(KEPT), len(WHOLE) + 1))
def test_torn_at_every_byte(tmp_path, size):
    path = tmp_path / "journal"
    path.write_bytes(WHOLE[:size])
    whole = RECORDS if size >= len(WHOLE) - 1 else RECORDS[:2]
    if size in (len(KEPT), len(WHOLE) - 1, len(WHOLE)):
        assert read_journal(path) == whole
    else:
        with pytest.warns(TornLineWarning, match="the last line is torn"):
            assert read_journal(path) == whole
    write(path, [cost_record("d")])
    assert read_journal(path) == [*whole, cost_record("d")]
    assert path.read_bytes().count(b"\n") == len(whole) + 1


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"garbage", b"3", b"[]", b"null", b"\x00\x00\x00\x00", b"\xff\xfe", b"{}", b'{"schema": 1}'],
    ids=repr,
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "journal"
    damaged(path, line)
    with pytest.raises(UserError, match="damaged") as caught:
        read_journal(path)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"colour": "red"}, "unknown ['colour']"),
        ({"status": "fine"}, "status 'fine'"),
        ({"experiment": "magic"}, "magic"),
        ({"experiment": []}, "list"),
        ({"schema": 2}, "schema version 2, but this kfc-bench reads version 1"),
        ({"schema": None}, "schema version None"),
    ],
)
def test_a_record_beyond_the_schema_is_refused(tmp_path, change, word):
    path = tmp_path / "journal"
    damaged(path, json.dumps({**RECORDS[1], **change}).encode())
    with pytest.raises(UserError) as caught:
        read_journal(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert word in str(caught.value)


@pytest.mark.parametrize("missing", ["run_id", "case_id", "status"])
def test_a_record_without_a_common_field_is_refused(tmp_path, missing):
    record = {name: value for name, value in RECORDS[1].items() if name != missing}
    damaged(tmp_path / "journal", json.dumps(record).encode())
    with pytest.raises(UserError, match=f"missing \\['{missing}'\\]"):
        read_journal(tmp_path / "journal")


def test_a_bad_record_is_not_written(tmp_path):
    with Journal(tmp_path / "journal") as journal, pytest.raises(ValueError, match="colour"):
        journal.append(cost_record(colour="red"))
    assert (tmp_path / "journal").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named(tmp_path):
    path = tmp_path / "journal"
    write(path, RECORDS)
    with Journal(path) as journal, open("/dev/full", "wb") as full:  # noqa: PTH123
        os.dup2(full.fileno(), journal._file.fileno())
        with pytest.raises(UserError, match="No space left on device") as caught:
            journal.append(cost_record("d"))
    assert str(path) in str(caught.value)
    assert read_journal(path) == RECORDS


def test_a_journal_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(UserError, match="Is a directory") as caught:
        Journal(tmp_path)
    assert str(tmp_path) in str(caught.value)
