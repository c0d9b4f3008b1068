"""Fisher approximations: layer statistics -> inverse -> natural gradient."""

from kfc_bench.curvature.approximation import Approximation, LayerBatch, PhaseBytes
from kfc_bench.curvature.block_diagonal import BlockDiagonal
from kfc_bench.curvature.diagonal import Diagonal
from kfc_bench.curvature.exact import Exact
from kfc_bench.curvature.identity import Identity
from kfc_bench.curvature.kfc import KFC

APPROXIMATIONS: dict[str, type[Approximation]] = {
    "kfc": KFC,
    "diagonal": Diagonal,
    "block_diagonal": BlockDiagonal,
    "exact": Exact,
    "identity": Identity,
}

__all__ = [
    "APPROXIMATIONS",
    "KFC",
    "Approximation",
    "BlockDiagonal",
    "Diagonal",
    "Exact",
    "Identity",
    "LayerBatch",
    "PhaseBytes",
]
