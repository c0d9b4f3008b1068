"""Every Fisher approximation by name."""

from __future__ import annotations

from typing import Any

from kfc_bench.curvature.approximation import Approximation
from kfc_bench.curvature.block_diagonal import BlockDiagonal
from kfc_bench.curvature.diagonal import Diagonal
from kfc_bench.curvature.ekfac import EKFAC
from kfc_bench.curvature.exact import Exact
from kfc_bench.curvature.identity import Identity
from kfc_bench.curvature.kfc import KFC
from kfc_bench.curvature.kfc_eigen import KFCEigen
from kfc_bench.curvature.kfc_reduce import KFCReduce
from kfc_bench.curvature.mini_block import MiniBlock
from kfc_bench.curvature.prong import PRONG
from kfc_bench.curvature.sua import SUA

APPROXIMATIONS: dict[str, type[Approximation[Any]]] = {
    "kfc": KFC,
    "kfc_reduce": KFCReduce,
    "kfc_eigen": KFCEigen,
    "ekfac": EKFAC,
    "sua": SUA,
    "prong": PRONG,
    "diagonal": Diagonal,
    "mini_block": MiniBlock,
    "block_diagonal": BlockDiagonal,
    "exact": Exact,
    "identity": Identity,
}
