"""Someone else's way to compute an operator's result: what it takes, how it is scaled, how it is run."""

from __future__ import annotations

import importlib
import importlib.util
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kfc_kernels import ConvGeometry, UnsupportedError
from kfc_kernels.dispatch import Case

Scale = Callable[[ConvGeometry, int], float]
"""From a layer and its number of examples N to the factor that turns a result into ours."""


def as_ours(geometry: ConvGeometry, batch: int) -> float:  # noqa: ARG001
    """Scale a result that is a sum over positions and a mean over examples already."""
    return 1.0


def mean_over_positions(geometry: ConvGeometry, batch: int) -> float:  # noqa: ARG001
    """Scale a result that is a mean over positions and over examples: by |T|."""
    return float(geometry.positions)


def sum_over_examples(geometry: ConvGeometry, batch: int) -> float:  # noqa: ARG001
    """Scale a result that is a sum over positions and over examples: by 1/N."""
    return 1.0 / batch


def sum_over_all(geometry: ConvGeometry, batch: int) -> float:
    """Scale a result that is a sum over positions and over examples, where ours is a mean over both: by 1/(N|T|)."""
    return 1.0 / (batch * geometry.positions)


def of_reduced_sums(geometry: ConvGeometry, batch: int) -> float:
    """Scale a sum over examples of products of sums over positions, to K-FAC-reduce's output factor: by 1/(N|T|^2)."""
    return 1.0 / (batch * geometry.positions**2)


def declining_double(otherwise: Callable[[Case], str | None], reason: str) -> Callable[[Case], str | None]:
    """Write a ``declines`` that declines float64 too.

    Args:
        otherwise: What else is declined.
        reason: Why not float64.

    Returns:
        A function from a case to the reason against it, or None.
    """
    return lambda case: reason if case.dtype == torch.float64 else otherwise(case)


@contextmanager
def silenced(message: str, category: type[Warning]) -> Iterator[None]:
    """Silence one warning of a contestant's own making.

    Args:
        message: How it begins.
        category: Its class.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield


def keep_progress_in_process() -> None:
    """Give tqdm a lock between threads: its own, between processes, is left behind when a worker is ended."""
    tqdm = importlib.import_module("tqdm").tqdm
    tqdm.set_lock(threading.RLock())


@dataclass(frozen=True)
class Package:
    """A package that a contestant needs.

    Attributes:
        module: What is imported.
        distribution: What pip installs.
    """

    module: str
    distribution: str

    @property
    def installed(self) -> bool:
        """Whether it can be found; it is not imported."""
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Contestant:
    """One way to compute an operator's result, timed beside the implementations of `kfc_kernels`.

    Attributes:
        name: What the suites call it, as an ``implementation``; those of other operators may have the same.
        prepare: Takes the operator's arguments (for ``input_factor``: ``a`` of ``[N, C, *in]`` and the geometry)
            and returns the call that is timed. Backpropagated vectors come as ``[1, N, K, *out]``. The call returns a
            fresh tensor, or one per layer, in the contestant's own scale, and leaves nothing behind: what it held
            would be missing from the next call's peak memory.
        declines: Returns why it does not take a case, or None. Shapes that differ from the operator's result must
            be declined; numbers that differ need not be, since the gate finds them.
        scale: By what the call's result is multiplied, outside the timed call, before it is held to the reference.
        package: The package that it runs; None if torch alone.
        operator: The operator whose result it computes.
    """

    name: str
    prepare: Callable[..., Callable[[], Tensor | list[Tensor]]]
    declines: Callable[[Case], str | None]
    scale: Scale = as_ours
    package: Package | None = None
    operator: str = "input_factor"

    @property
    def key(self) -> tuple[str, str]:
        """The operator's name and its own, which are one contestant's alone."""
        return self.operator, self.name

    @property
    def whole_pass(self) -> bool:
        """Whether the call is a library's as its users call it, both passes included: its name ends in ``_api``."""
        return self.name.endswith("_api")

    def ready(self, arguments: Sequence[Any], case: Case) -> Callable[[], Tensor | list[Tensor]]:
        """Prepare the call that is timed.

        Args:
            arguments: The operator's arguments.
            case: Geometry, dtype and device of these.

        Returns:
            The call.

        Raises:
            UnsupportedError: Its package is not installed, or it declines the case; the message says which.
        """
        if self.package is not None and not self.package.installed:
            raise UnsupportedError(
                f"{self.name}: {self.package.module} is not installed: pip install {self.package.distribution}"
            )
        reason = self.declines(case)
        if reason is not None:
            raise UnsupportedError(f"{self.operator}: {self.name} {reason}")
        return self.prepare(*arguments)


def takes(
    *,
    axes: Sequence[int] = (2,),
    dilation: bool = True,
    bias: bool = False,
    zeros_only: bool = True,
    uneven_padding: bool = False,
    half: bool = True,
    groups: bool = False,
) -> Callable[[Case], str | None]:
    """Write a contestant's ``declines`` by what it takes.

    Args:
        axes: Numbers of spatial axes.
        dilation: Dilation other than 1.
        bias: The homogeneous coordinate of a layer with a bias, in one matrix with the weights.
        zeros_only: Declines padding modes other than zeros. A contestant that takes any layer and pads it
            with zeros all the same says False here: the gate will call it wrong.
        uneven_padding: Other padding before an axis than after it.
        half: float16 and bfloat16.
        groups: Groups of channels.

    Returns:
        A function from a case to the reason against it, or None.
    """

    def declines(case: Case) -> str | None:
        geometry = case.geometry
        if geometry is None or geometry.axes not in axes:
            return f"takes {' or '.join(f'{number}d' for number in axes)} convolutions"
        unlike = any(before != after for before, after in geometry.padding)
        reasons = {
            "has no result per group": geometry.groups > 1 and not groups,
            "does not take dilation": not dilation and any(step > 1 for step in geometry.dilation),
            "has no joint factor of weights and bias": geometry.bias and not bias,
            "pads with zeros only": zeros_only and any(map(any, geometry.padding)) and geometry.padding_mode != "zeros",
            "pads both sides of an axis alike": unlike and not uneven_padding,
            "runs a network, in float32 or float64": not half and case.dtype in (torch.float16, torch.bfloat16),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    return declines


takes_outputs = takes(bias=True, zeros_only=False, uneven_padding=True)
"""Declines by what is seen in a layer's outputs alone, which know no padding: axes and groups."""
