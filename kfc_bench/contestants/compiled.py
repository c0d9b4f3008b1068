"""Our plain implementation of each operator under ``torch.compile``: what a compiler makes of it."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from kfc_bench.contestants.contestant import Contestant, silenced
from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.dispatch import Case

BACKEND = "inductor"
OPTIONS: dict[str, dict[str, str | int | bool | Callable[..., Any]]] = {"inductor": {"compile_threads": 1}}
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
COMPILERS = ("c++", "g++", "clang++")

Function = Callable[..., Tensor | list[Tensor]]


def _plain(operator: str) -> Function:
    """Return the operator's plain implementation, without what an operator takes only if asked to."""
    (entry,) = [entry for entry in OPERATORS[operator].table if entry.name == "reference"]
    function = entry.load()
    optional = [entry.name for entry in inspect.signature(function).parameters.values() if entry.kind == KEYWORD_ONLY]
    return partial(function, **dict.fromkeys(optional))


def _call(function: Function, arguments: Sequence[Any]) -> Tensor | list[Tensor]:
    return function(*arguments)


def prepare(operator: str, *arguments: Any) -> Callable[[], Tensor | list[Tensor]]:
    """Return the compiled call for an operator's arguments; it is compiled already."""
    # Compiled code is kept, and its number limited, by code object: with one of its own no case sees another's.
    own = FunctionType(_call.__code__.replace(), _call.__globals__)
    compiled = torch.compile(own, backend=BACKEND, dynamic=False, fullgraph=True, options=OPTIONS.get(BACKEND))
    run = partial(compiled, _plain(operator), arguments)
    with (
        silenced("`torch.jit", DeprecationWarning),
        silenced("`torch._prims_common.check`", FutureWarning),
    ):
        run()
    return run


def declines(case: Case) -> str | None:
    """Decline where what the compiler writes cannot be built."""
    if case.device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        return f"needs a C++ compiler: none of {', '.join(COMPILERS)} is there"
    return None


# A damped inverse looks at what came out, which no graph holds.
CONTESTANTS = tuple(
    Contestant("compiled", partial(prepare, operator), declines, operator=operator)
    for operator in OPERATORS
    if operator != "damped_inverse"
)
