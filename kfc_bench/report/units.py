"""Numbers as people read them."""

from __future__ import annotations

import math


def seconds(value: float | None) -> str:
    """Write a duration with three significant digits: ``1.23 ms``."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "not reached"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def size(value: float | None) -> str:
    """Write bytes with three significant digits: ``12.3 MiB``."""
    if value is None or math.isnan(value):
        return "-"
    for scale, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def ratio(value: float | None) -> str:
    """Write a ratio: ``1.23x``."""
    if value is None or math.isnan(value):
        return "-"
    return "not reached" if math.isinf(value) else f"{value:.3g}x"
