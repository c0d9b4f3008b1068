"""Numbers as people read them."""

from __future__ import annotations

import math


def three(value: float) -> str:
    """Write a number with three significant digits and no exponent up to a million: ``1230``."""
    return f"{float(f'{value:.3g}'):g}"


def seconds(value: float | None) -> str:
    """Write a duration with three significant digits: ``1.23 ms``."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "not reached"
    rounded = float(f"{value:.3g}")
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if rounded >= scale:
            return f"{three(rounded / scale)} {unit}"
    return f"{three(rounded / 1e-9)} ns"


def size(value: float | None) -> str:
    """Write bytes with three significant digits: ``12.3 MiB``."""
    if value is None or math.isnan(value):
        return "-"
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= scale:
            return f"{three(value / scale)} {unit}"
    return f"{value:.0f} B"


def ratio(value: float | None) -> str:
    """Write a ratio: ``1.23x``."""
    if value is None or math.isnan(value):
        return "-"
    return "not reached" if math.isinf(value) else f"{three(value)}x"
