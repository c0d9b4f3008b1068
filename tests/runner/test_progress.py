import io

import pytest
from rich.console import Console

from kfc_bench.runner import progress as module
from kfc_bench.runner.progress import RunProgress


@pytest.fixture
def shown():
    return Console(file=io.StringIO(), width=80, force_terminal=False)


def progress(console, total=12, done=3):
    return RunProgress(console, {"cost": (total, done)})


def test_the_count_and_the_estimate_are_whole_in_eighty_columns(shown):
    with progress(shown, 1234, 3) as bar:
        bar.running("block_diagonal accumulate, cifar10.conv2, batch 256")
    (line,) = shown.file.getvalue().splitlines()
    assert line.startswith("block_diagonal accumulate")
    assert "3/1234" in line
    assert line.rstrip().endswith("about 30 min 46 s left")


def test_finished_cases_count_and_end_with_nothing_left(shown):
    with progress(shown, 4, 3) as bar:
        bar.running("a case")
        bar.finished("cost")
    assert "4/4" in shown.file.getvalue()
    assert "about 0 s left" in shown.file.getvalue()


def test_notes_are_printed_as_they_are(shown):
    line = f"crashed: [red]a case[/]: {'long ' * 30}".rstrip()
    with progress(shown) as bar:
        bar.note(line)
    assert line in shown.file.getvalue().splitlines()


def test_without_a_terminal_a_line_tells_from_time_to_time(shown, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", -1.0)
    with progress(shown, 4, 3) as bar:
        bar.running("a case")
    assert "3 of 4, about 2 s left: a case" in shown.file.getvalue().splitlines()
