"""The numbers and the grids that a record keeps of a layer's correlations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kfc_bench.experiments.correlation.moments import REACH, Moments

SHOWN_MAPS = 3
SHOWN_CROSS = 32
"""As many as in the paper's figures: the first ones that are alive."""

DIGITS = 4


def correlation_row(moments: Moments) -> dict[str, Any]:
    """Sum up a layer's correlations.

    Args:
        moments: Of its maps.

    Returns:
        The columns ``neighbour`` to ``cross_p95``, of all maps that are alive, and ``maps``: absolute correlations of
        the first few (``spatial``, ``cross``) and how many are not alive (``dead``). None where nothing is defined.
    """
    spatial, cross = moments.spatial().abs(), moments.cross().abs()
    apart = cross[~torch.eye(len(cross), dtype=torch.bool, device=cross.device)]
    return {
        "neighbour": _mean(_at_distance(spatial, 1)),
        "second": _mean(_at_distance(spatial, 2)),
        "mean": _mean(_displaced(spatial)),
        "cross_mean": _mean(apart),
        "cross_p95": float(apart.quantile(0.95)) if len(apart) else None,
        "maps": {
            "spatial": _rounded(spatial[:SHOWN_MAPS]),
            "cross": _rounded(cross[:SHOWN_CROSS, :SHOWN_CROSS]),
            "dead": int((~moments.alive).sum()),
        },
    }


def _at_distance(spatial: Tensor, steps: int) -> Tensor:
    """Take so many steps up, down, left and right, ``[maps, 4]``."""
    ends = [REACH - steps, REACH + steps]
    return torch.cat([spatial[:, ends, REACH], spatial[:, REACH, ends]], dim=1)


def _displaced(spatial: Tensor) -> Tensor:
    """Take every displacement but none."""
    elsewhere = torch.ones(spatial.shape[1:], dtype=torch.bool, device=spatial.device)
    elsewhere[REACH, REACH] = False
    return spatial[:, elsewhere]


def _mean(values: Tensor) -> float | None:
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else None


def _rounded(values: Tensor) -> list[Any]:
    """Turn into lists, each number with few digits, None for NaN."""
    if values.ndim > 1:
        return [_rounded(value) for value in values]
    return [None if value != value else round(value, DIGITS) for value in values.tolist()]
