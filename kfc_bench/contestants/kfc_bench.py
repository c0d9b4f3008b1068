"""Ours as a user calls it: hooks, a forward pass, a backward pass of sampled vectors, both factors.

It stands beside the peers' public APIs, which do the same; `kfc_bench_api` picks the implementation as ``"auto"`` does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kfc_bench.contestants.contestant import Contestant, takes
from kfc_bench.contestants.network import classifier
from kfc_bench.curvature import LayerBatch
from kfc_bench.curvature.capture import Capture
from kfc_bench.curvature.kfc import KFC
from kfc_bench.curvature.layers import find_layers
from kfc_bench.curvature.likelihoods import sampled_vectors
from kfc_kernels import ConvGeometry


def prepare(a: Tensor, geometry: ConvGeometry) -> Callable[[], Tensor]:
    """Return the call for an input ``[N, C, H, W]``."""
    model, _ = classifier(geometry, a)
    capture = Capture(model, find_layers(model))
    generator = torch.Generator().manual_seed(0)

    def run() -> Tensor:
        logits = model(a)
        with torch.no_grad():
            vectors = sampled_vectors(logits, "categorical", samples=1, generator=generator)
        approximation = KFC(damping=1.0)
        (batch,) = (batch for batch in capture.backpropagate(logits, vectors) if isinstance(batch, LayerBatch))
        approximation.observe([batch])
        ((omega, _),) = approximation.statistics
        return omega

    return run


CONTESTANTS = (Contestant("kfc_bench_api", prepare, takes(bias=True, zeros_only=False, half=False)),)
