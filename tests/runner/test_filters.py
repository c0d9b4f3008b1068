import pytest

from kfc_bench.errors import UserError
from kfc_bench.runner.filters import Filter, matches, parse_filter

COLUMNS = {"approximation": "kfc", "batch": 64, "network": None, "bias": False, "lr": 0.1}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("batch=64", Filter("batch", ("64",))),
        ("batch=16,64", Filter("batch", ("16", "64"))),
        ("approximation=kfc", Filter("approximation", ("kfc",))),
        ("layer=a=b", Filter("layer", ("a=b",))),
        ("optimizer=sgd", Filter("optimizer", ("sgd",))),
    ],
)
def test_parsing(text, parsed):
    assert parse_filter(text) == parsed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch", "write key=value"),
        ("batch=", "write key=value"),
        ("", "write key=value"),
        ("=64", "no record has a column ''"),
        ("approximtion=kfc", "did you mean 'approximation'?"),
        ("colour=red", "no record has a column 'colour'"),
        ("Batch=64", "did you mean 'batch'?"),
    ],
)
def test_bad_filters_are_refused(text, words):
    with pytest.raises(UserError) as caught:
        parse_filter(text)
    assert str(caught.value).startswith(f"--filter {text!r}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "passes"),
    [
        ([], True),
        (["batch=64"], True),
        (["batch=16,64"], True),
        (["batch=6"], False),
        (["batch=64", "approximation=kfc"], True),
        (["batch=64", "approximation=diagonal"], False),
        (["bias=False"], True),
        (["lr=0.1"], True),
        (["network=digits"], False),
        (["optimizer=kfc"], False),
    ],
)
def test_matching(texts, passes):
    assert matches(COLUMNS, [parse_filter(text) for text in texts]) is passes
