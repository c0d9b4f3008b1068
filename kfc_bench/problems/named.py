"""Networks by name: those that come along, and any that can be imported."""

from __future__ import annotations

import copy
import difflib
import hashlib
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from kfc_bench.errors import UserError
from kfc_bench.problems.networks import NETWORKS, Network


def find_network(name: str, input_shape: Sequence[int] | None = None) -> Network:
    """Find a network.

    Args:
        name: A key of `NETWORKS`, or ``module:callable``, where the callable takes no arguments and returns
            an ``nn.Module`` from ``[N, *input_shape]`` to logits ``[N, classes]``; the current folder is searched too.
        input_shape: Of one example; needed for what is imported, and taken instead of its own by one of `NETWORKS`.

    Returns:
        The network.

    Raises:
        UserError: There is no such network, or it does not do that.
    """
    if name in NETWORKS:
        own = NETWORKS[name]
        return own if input_shape is None else _tried(name, own.build, tuple(input_shape))
    module_name, colon, attribute = name.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(
            f"network {name!r} is not one of {', '.join(NETWORKS)}{hint}; one of your own is written MODULE:CALLABLE"
        )
    if input_shape is None:
        raise UserError(f"network {name!r}: its input's shape is needed too, such as --input 3x224x224")
    return _tried(name, _imported(name, module_name, attribute), tuple(input_shape))


def _imported(name: str, module_name: str, attribute: str) -> Callable[[], nn.Module]:
    here = str(Path.cwd())
    if here not in sys.path:
        # It stays there: what is called later may import too.
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for word in attribute.split("."):
            found = getattr(found, word)
    except (Exception, SystemExit) as error:
        raise UserError(f"network {name!r} cannot be imported: {_in_words(error)}") from None
    if not callable(found):
        raise UserError(f"network {name!r} is {type(found).__name__}; what is needed is a function or class to call")

    def build() -> nn.Module:
        try:
            model = found()
        except (Exception, SystemExit) as error:
            raise UserError(f"network {name!r} cannot be built: {_in_words(error)}") from None
        if not isinstance(model, nn.Module):
            raise UserError(f"network {name!r} builds {type(model).__name__}; an nn.Module is needed")
        if any(isinstance(value, UninitializedParameter) for value in model.parameters()):
            raise UserError(f"network {name!r} has lazy modules, of no size yet; give each its sizes")
        # One made beforehand would be trained again and again.
        return copy.deepcopy(model)

    return build


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _tried(name: str, build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> Network:
    """Run one example, to see that the shape fits and how many logits there are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build().eval()
        try:
            outputs: Any = model(torch.zeros(1, *input_shape))
        except Exception as error:
            shape = "x".join(map(str, input_shape))
            raise UserError(f"network {name!r} does not take an input of {shape}: {_in_words(error)}") from None
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        found = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise UserError(f"network {name!r} returns {found} for one example; logits of shape [1, classes] are needed")
    return Network(build, input_shape, outputs.shape[1])


@cache
def structure(name: str, input_shape: tuple[int, ...]) -> str:
    """Hash what an imported network is made of, as its name says little.

    Args:
        name: As for `find_network`.
        input_shape: Likewise.

    Returns:
        Sixteen digits: of its modules as they print themselves, and of its parameters' shapes.
    """
    with torch.random.fork_rng(devices=[]):
        model = find_network(name, input_shape).build()
    shapes = [(key, tuple(value.shape), value.requires_grad) for key, value in model.named_parameters()]
    return hashlib.sha256(f"{model!r} {shapes}".encode()).hexdigest()[:16]
