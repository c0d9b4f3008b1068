"""What an implementation's name means to a reader who does not know the code."""

from __future__ import annotations

import pandas as pd

APPROXIMATIONS = (
    *("kfc", "kfc_reduce", "kfc_eigen", "ekfac", "sua", "prong"),
    *("diagonal", "mini_block", "block_diagonal", "exact"),
)
"""In the order of every table: a report is written without `kfc_bench.curvature`, and torch."""

PLAIN_FORMULAS = (
    "unfold_matmul",
    "unfold_einsum",
    "per_image_unfold",
    "tensor_unfold",
    "weight_gradient",
    "einsum",
    "unfold_sum",
    "per_example_gradients",
    "vmap_gradients",
)
COMPILED = "compiled"
PEERS = ("asdl", "backpack", "backpack_diag_ggn", "curvlinops", "kronfluence", "nngeometry")
API = "_api"


def described(implementation: str) -> str:
    """Say whose an implementation is: a plain formula, another library's, or ours.

    Args:
        implementation: As records spell it.

    Returns:
        The name, with its kind in brackets unless it is a kernel of ours.
    """
    if implementation == "reference":
        return "reference (our plain formula)"
    if implementation == COMPILED:
        return "compiled (our plain formula, torch.compile)"
    if implementation in PLAIN_FORMULAS:
        return f"{implementation} (plain formula)"
    name = implementation.removesuffix(API)
    whose = "library" if name in PEERS else "ours" if is_whole_pass(implementation) else None
    if whose is None:
        return implementation
    return f"{name} ({whose}, whole pass)" if is_whole_pass(implementation) else f"{name} ({whose})"


def is_contestant(implementation: str) -> bool:
    """Tell whether it is a plain formula, a compiled one or another library's: none of ours."""
    return implementation.removesuffix(API) in (*PLAIN_FORMULAS, COMPILED, *PEERS)


def is_whole_pass(implementation: str) -> bool:
    """Tell whether it is timed as a user calls it: forward, backward and all factors, not the one result alone."""
    return implementation.endswith(API)


def has_peers(implementations: list[str]) -> bool:
    """Tell whether another library is among them."""
    return any(name.removesuffix(API) in PEERS for name in implementations)


def what_ran(cost: pd.DataFrame) -> pd.Series[str]:
    """Say of each row of the cost frame what was measured: the operator, or the approximation and its phase."""
    phases = cost["approximation"].astype(str) + " " + cost["phase"].astype(str)
    return cost["operator"].astype(object).where(cost["operator"].notna(), phases)
