import math

import pytest

from kfc_bench.report.units import ratio, seconds, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "not reached"),
        (0.0, "0 ns"),
        (2.5e-9, "2.5 ns"),
        (1.234e-6, "1.23 us"),
        (1.234e-3, "1.23 ms"),
        (999.4e-6, "999 us"),
        (999.96e-6, "1 ms"),
        (0.99996, "1 s"),
        (1.0, "1 s"),
        (999.9, "1000 s"),
        (1234.5, "1230 s"),
    ],
)
def test_seconds(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1023 * 2**20, "1020 MiB"),
        (2**20, "1 MiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (5000 * 2**30, "5000 GiB"),
    ],
)
def test_size(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "not reached"),
        (0.0, "0x"),
        (0.123456, "0.123x"),
        (1.0, "1x"),
        (1234.5, "1230x"),
    ],
)
def test_ratio(value, text):
    assert ratio(value) == text
