"""Predicted times on an H100, the table of kernels/README.md: ``python -m kfc_kernels.input_factor.forecast``."""

from __future__ import annotations

import torch

from kfc_kernels.dispatch import Case
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor import WORK
from kfc_kernels.input_factor.rates import ASSUMED_SHARE, operands
from kfc_kernels.precision import multiplying
from kfc_kernels.rates import gpu_rates

# Channels, side of the map, kernel.
HEADLINES = (64, 56, 3), (128, 28, 3), (256, 14, 3), (512, 7, 3), (32, 16, 5)
BATCHES = 32, 128

# Kinds of products by the page's short names.
PRODUCTS = {"bf16": "bfloat16", "tf32": "tf32", "ieee": "ieee"}


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
                        work, multiplied = count(case), operands(name, dtype)
                        full, assumed = gpu_rates(multiplied), gpu_rates(multiplied, ASSUMED_SHARE[name])
                        floor, predicted[name] = full.seconds(work), assumed.seconds(work)
                        part = full.longest_part(work)[0]
                        cells.append(f"{1e6 * floor:.0f} / {1e6 * predicted[name]:.0f} {part}")
                chosen = min(predicted, key=lambda name: predicted[name])
                layer = f"{channels}ch {size}x{size} k{kernel}"
                lines.append(f"| {layer} | {batch} | {products} | {' | '.join(cells)} | {chosen} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(gpu_forecast())
