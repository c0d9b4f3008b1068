"""Networks by name: those that come along, and any that can be imported."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for word in attribute.split("."):
            found = getattr(found, word)
    except Exception as error:
        raise UserError(f"network {name!r} cannot be imported: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise UserError(f"network {name!r} is {type(found).__name__}; what is needed is a function or class to call")

    def build() -> nn.Module:
        try:
            model = found()
        except Exception as error:
            raise UserError(f"network {name!r} cannot be built: {type(error).__name__}: {error}") from None
        if not isinstance(model, nn.Module):
            raise UserError(f"network {name!r} builds {type(model).__name__}; an nn.Module is needed")
        return model

    return build


def _tried(name: str, build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> Network:
    """Run one example, to see that the shape fits and how many logits there are."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build().eval()
        try:
            outputs: Any = model(torch.zeros(1, *input_shape))
        except Exception as error:
            shape = "x".join(map(str, input_shape))
            raise UserError(f"network {name!r} does not take an input of {shape}: {error}") from None
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        found = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise UserError(f"network {name!r} returns {found} for one example; logits of shape [1, classes] are needed")
    return Network(build, input_shape, outputs.shape[1])
