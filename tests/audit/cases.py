"""What the tests of the audit share."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS

PEERS = [name for name in LIBRARIES if name != "kfc_bench"]
every_option = pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)


def network(option):
    """Build an option's network as its script does: what its lines define, by name."""
    names = {"torch": torch, "nn": nn}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
        exec("\n".join(option.lines()), names)
    return [names[name] for name in ("model", "loss", "x", "labels")]


def need(library):
    if not library.installed:
        pytest.skip(f"{library.module} is not installed: pip install {library.distribution}")
