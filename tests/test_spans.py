import pytest

from kfc_bench.spans import OTHER, Listener, listening, span


class Borders(Listener):
    def __init__(self):
        super().__init__()
        self.seen = []

    def border(self, key):
        self.seen.append(key)


def test_nobody_listens():
    with span("forward", "conv1") as nothing:
        assert nothing is None


def test_time_is_the_innermost_spans():
    borders = Borders()
    with listening(borders), span("forward"):
        with span("forward", "conv1"):
            pass
        with span("loss"):
            borders.switch("fc")
    assert borders.seen == [
        ("forward", ""),
        ("forward", "conv1"),
        ("forward", ""),
        ("loss", ""),
        ("loss", "fc"),
        ("forward", ""),
        OTHER,
    ]


def test_an_exception_ends_its_spans():
    borders = Borders()
    with pytest.raises(ValueError, match="bad"), listening(borders), span("clip"), span("clip", "fc"):
        raise ValueError("bad")
    assert borders.current == borders.seen[-1] == OTHER
    with span("forward"):
        pass
    assert borders.current == OTHER


def test_one_listens_at_a_time():
    with listening(Borders()), pytest.raises(RuntimeError, match="another listener"), listening(Borders()):
        pass
    with listening(Borders()):
        pass
