import pytest

from kfc_bench.errors import UserError
from kfc_bench.experiments.table import Table, nearest

VALUES = {
    "count": 3,
    "rate": 0.5,
    "flag": True,
    "word": "kfc",
    "list": [1, 2],
    "words": ["kfc", "sgd"],
    "empty": [],
    "twice": [1, 1],
}


def table(fallback=None, **values):
    return Table({**VALUES, **values}, "suite.toml [defaults]", fallback)


TAKEN = [
    ("count", int, 3),
    ("count", float, 3.0),
    ("rate", float, 0.5),
    ("flag", bool, True),
    ("word", str, "kfc"),
    ("list", list, [1, 2]),
    ("count", int | list, 3),
    ("list", int | list, [1, 2]),
]


@pytest.mark.parametrize(("key", "kind", "expected"), TAKEN)
def test_take(key, kind, expected):
    value = table().take(key, kind)
    assert value == expected
    assert type(value) is type(expected)


MISTAKES = {
    "bool-as-int": (lambda t: t.take("flag", int), "flag = True must be of type int"),
    "bool-as-float": (lambda t: t.take("flag", float), "flag = True must be of type float"),
    "bool-as-int-or-list": (lambda t: t.take("flag", int | list), "flag = True must be of type int"),
    "int-as-bool": (lambda t: t.take("count", bool), "count = 3 must be of type bool"),
    "float-as-int": (lambda t: t.take("rate", int), "rate = 0.5 must be of type int"),
    "word-as-float": (lambda t: t.take("word", float), "word = 'kfc' must be of type float"),
    "missing": (lambda t: t.take("batch", int), "key 'batch' is missing"),
    "missing-sweep": (lambda t: t.sweep("batch", int), "key 'batch' is missing"),
    "empty-sweep": (lambda t: t.sweep("empty", int), "empty is an empty list"),
    "duplicate-sweep": (lambda t: t.sweep("twice", int), r"twice = \[1, 1\] lists a value twice"),
    "mixed-sweep": (lambda t: t.sweep("words", int), "words = 'kfc' must be of type int"),
    "choice": (
        lambda t: t.choice("word", ("kfcs", "sgd")),
        r"word 'kfc' is not one of kfcs, sgd \(did you mean 'kfcs'\?\)",
    ),
    "choices": (lambda t: t.choices("words", ("kfc",)), "words 'sgd' is not one of kfc"),
    "positive-int": (lambda t: t.positive("batch", 0), "batch = 0 must be at least 1"),
    "positive-float": (lambda t: t.positive("rate", -0.5), "rate = -0.5 must be positive"),
    "tables": (lambda t: t.tables("empty"), r"at least one \[\[empty\]\] is needed"),
    "not-finite": (lambda t: Table({"x": float("nan")}, t.where).take("x", float), "x = nan must be a finite number"),
    "no-table": (lambda t: Table([1], t.where), r"a table is needed, not \[1\]"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_says_where_and_what(case):
    mistake, message = MISTAKES[case]
    with pytest.raises(UserError, match=rf"^suite\.toml \[defaults\]: {message}"):
        mistake(table())


@pytest.mark.parametrize(("key", "expected"), [("count", [3]), ("list", [1, 2]), ("batch", [7])])
def test_sweep(key, expected):
    assert table().sweep(key, int, 7) == expected


def test_defaults_in_order():
    fallback = {"count": 4, "size": 5}
    taken = table(fallback)
    assert (taken.take("count", int, 6), taken.take("size", int, 6), taken.take("depth", int, 6)) == (3, 5, 6)
    assert "size" in taken
    assert "depth" not in taken


def test_falsy_values_are_not_missing():
    assert table(zero=0, off=False).take("zero", int, 5) == 0
    assert table(zero=0, off=False).take("off", bool, True) is False


def test_unknown_keys_are_refused_with_the_nearest():
    values = Table({"batchs": 3}, "suite.toml", {"leftover": 1})
    values.take("batch", int, 1)
    with pytest.raises(
        UserError, match=r"^suite\.toml: unknown key 'batchs' \(did you mean 'batch'\?\); known keys: batch$"
    ):
        values.done()
    Table({}, "suite.toml", {"leftover": 1}).done()


def test_nothing_near_is_no_hint():
    assert nearest("batch", ["precision"]) == ""
