import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from kfc_bench.runner.progress import RunProgress
from kfc_bench.runner.suite import Section


@pytest.fixture
def shown():
    return Console(file=io.StringIO(), width=80, force_terminal=False)


def progress(console, total=12, done=3):
    return RunProgress(console, [(Section("cost", "cost", SimpleNamespace(total=total)), done)])


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
