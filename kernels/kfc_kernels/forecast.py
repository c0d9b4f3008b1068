"""Predicted times on an H100 of all operators but the input factor: ``python -m kfc_kernels.forecast``."""

from __future__ import annotations

from kfc_kernels.cost import operator_cost
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.precision import multiplying
from kfc_kernels.rates import gpu_rates
from kfc_kernels.triton_work import WORK, multiplied_in
from kfc_kernels.work import Work

_conv = ConvGeometry.conv

LAYERS = {
    "64ch 56x56 k3": _conv(64, 64, (56, 56), 3, padding=1),
    "256ch 14x14 k3": _conv(256, 256, (14, 14), 3, padding=1),
    "linear 768 to 3072, 197 tokens": ConvGeometry.linear(768, 3072, shared=(197,), bias=True),
}
SMALL = {
    "8 to 16ch 8x8 k3": _conv(8, 16, (8, 8), 3, padding=1, bias=True),
    "16 to 24ch 8x8 k3": _conv(16, 24, (8, 8), 3, padding=1, bias=True),
}
"""Layers whose whole block is small enough to be formed."""

OF_WHOLE_BLOCKS = ("block_fisher", "exact_fisher", "precondition_dense")
BATCH = 128

# Kinds of products by the page's short names.
PRODUCTS = {"bf16": "bfloat16", "tf32": "tf32", "ieee": "ieee"}

# What a whole implementation is assumed to reach of a GPU's rates.
ASSUMED_SHARE = 0.5


def operators_forecast() -> str:
    """Make the table of predicted times on an H100.

    Returns:
        Markdown: of each operator and layer, the floor of any implementation, what Triton's tiles make of it, and the
        prediction, in each kind of products.
    """
    header = " | ".join(PRODUCTS)
    lines = [f"| operator | layer | {header} |", "|---|---|" + "---:|" * len(PRODUCTS)]
    for operator, count in WORK.items():
        for layer, geometry in (SMALL if operator in OF_WHOLE_BLOCKS else LAYERS).items():
            cells = []
            for kind in PRODUCTS.values():
                with multiplying(kind) as dtype:
                    least = operator_cost(operator, geometry, BATCH, element_size=dtype.itemsize)
                    floor = gpu_rates(dtype).seconds(Work(least.flops_minimal, least.bytes_minimal, 1))
                    work, multiplied = count(geometry, BATCH, dtype.itemsize), multiplied_in(operator, geometry, dtype)
                    predicted = gpu_rates(multiplied, ASSUMED_SHARE).seconds(work)
                    part = gpu_rates(multiplied).longest_part(work)[0]
                cells.append(f"{1e6 * floor:.0f} / {1e6 * predicted:.0f} {part}")
            lines.append(f"| {operator} | {layer} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(operators_forecast())
