"""Predicted times on an H100, the table of kernels/README.md: ``python -m kfc_kernels.input_factor.forecast``."""

from __future__ import annotations

from dataclasses import replace

import torch

from kfc_kernels.dispatch import Case
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor import WORK
from kfc_kernels.input_factor.rates import ASSUMED_SHARE, Rates, gpu_rates
from kfc_kernels.input_factor.work import Work
from kfc_kernels.launches import multiplying

# Channels, side of the map, kernel.
HEADLINES = (64, 56, 3), (128, 28, 3), (256, 14, 3), (512, 7, 3), (32, 16, 5)
BATCHES = 32, 128

# Kinds of products by the page's short names.
PRODUCTS = {"bf16": "bfloat16", "tf32": "tf32", "ieee": "ieee"}


def at_full_rates(name: str, assumed: Rates) -> Rates:
    """Return what `gpu_rates` assumes an implementation to reach a share of."""
    share = ASSUMED_SHARE[name]
    cached = None if assumed.cached is None else assumed.cached / share
    return replace(assumed, flops=assumed.flops / share, bytes=assumed.bytes / share, cached=cached)


def longest_part(work: Work, rates: Rates) -> str:
    """Name by its first letter what a GPU would spend the time of ``work`` on: products, memory or cache."""
    cached = work.cached / rates.cached if rates.cached else 0.0
    parts = {"p": work.flops / rates.flops, "m": work.bytes / rates.bytes, "c": cached}
    return max(parts, key=lambda part: parts[part])


def gpu_forecast() -> str:
    """Make the table of predicted times on an H100.

    Returns:
        Markdown: of each layer, batch and kind of products, the floor and the prediction of each implementation.
    """
    lines = [f"| layer | N | products | {' | '.join(WORK)} | `auto` |", "|---|---:|---|---:|---:|---:|---:|---|"]
    for batch in BATCHES:
        for channels, size, kernel in HEADLINES:
            geometry = ConvGeometry.conv(channels, channels, (size, size), kernel, padding=kernel // 2)
            for products, kind in PRODUCTS.items():
                cells, predicted = [], {}
                with multiplying(kind) as dtype:
                    case = Case(geometry, dtype, torch.device("cuda"), batch)
                    for name, count in WORK.items():
                        work, assumed = count(case), gpu_rates(name, dtype)
                        full = at_full_rates(name, assumed)
                        floor, predicted[name] = full.seconds(work), assumed.seconds(work)
                        cells.append(f"{1e6 * floor:.0f} / {1e6 * predicted[name]:.0f} {longest_part(work, full)}")
                chosen = min(predicted, key=lambda name: predicted[name])
                layer = f"{channels}ch {size}x{size} k{kernel}"
                lines.append(f"| {layer} | {batch} | {products} | {' | '.join(cells)} | {chosen} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(gpu_forecast())
