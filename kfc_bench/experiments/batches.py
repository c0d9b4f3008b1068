"""Training images in batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kfc_bench.problems.images import Split


def batches(split: Split, batch: int, seed: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield full batches forever, each epoch in a new order.

    Args:
        split: Images and labels.
        batch: Examples N of each.
        seed: Of the orders.
        start: Batches that were yielded before, and are left out.

    Yields:
        Images ``[N, C, H, W]`` and labels ``[N]``.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(split.labels)
    epochs, within = divmod(start, size // batch)
    for _ in range(epochs):
        torch.randperm(size, generator=generator)
    while True:
        order = torch.randperm(size, generator=generator).to(split.labels.device)
        for place in range(within * batch, size - batch + 1, batch):
            chosen = order[place : place + batch]
            yield split.images[chosen], split.labels[chosen]
        within = 0
