"""A library as the audit asks it: its call, what it does not claim to have, and what its documentation says."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from kfc_bench.measure.sources import version


class Quotation(NamedTuple):
    """What a library's documentation says, and the module whose docstring it is from."""

    words: str
    module: str

    def __str__(self) -> str:
        return f'"{self.words}" (docstring of {self.module})'


@dataclass(frozen=True)
class Library:
    """One library.

    Attributes:
        name: Its word on the command line.
        title: Its name.
        module: What is imported.
        distribution: What pip installs.
        blocks: Calls its public interface; takes the model, the loss, inputs, labels and the library's own arguments,
            and returns Fisher blocks of the model's first layer by ``"weight"``, ``"bias"`` or ``"weight and bias"``.
        states: The arguments of `kfc_bench.audit.reference.reference` that say which Fisher it states.
        states_for: By an option's need, what it states there besides or in place of that.
        convention: How its factors make that block, and in which scale.
        arguments: By an option's need, the arguments that ask for it, as Python writes them.
        lacks: By an option's need, why it cannot be asked for that.
        documented: By family, where its documentation says that it differs.
        notes: By family, what it computes instead.
        links: By family that it does not get right, where it was discussed.
    """

    name: str
    title: str
    module: str
    distribution: str
    blocks: Callable[..., dict[str, Tensor]]
    convention: str
    states: Mapping[str, str] = field(default_factory=dict)
    states_for: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    documented: Mapping[str, Quotation] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def stated(self, need: str) -> dict[str, str]:
        """Return the arguments of the reference that say which Fisher it states for an option's need."""
        return {**self.states, **self.states_for.get(need, {})}

    @property
    def installed(self) -> bool:
        """Whether it can be found; it is not imported."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """Its version; empty where it is not installed."""
        return (version(self.distribution) or "") if self.installed else ""
