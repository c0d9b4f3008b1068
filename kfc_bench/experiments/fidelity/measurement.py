"""One fidelity case under way: a layer a visit, the whole network last."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from kfc_bench.curvature import LayerBatch
from kfc_bench.curvature.exact import Exact as ExactFisher
from kfc_bench.curvature.likelihoods import Fisher
from kfc_bench.experiments.fidelity.case import FidelityCase
from kfc_bench.experiments.fidelity.compare import Exact, compare
from kfc_bench.experiments.fidelity.damped import Damped
from kfc_bench.experiments.fidelity.dense import DENSE, dense_blocks
from kfc_bench.experiments.fidelity.ladder import ladder, nearest_kronecker
from kfc_bench.experiments.fidelity.observed import Observed, observe
from kfc_bench.experiments.looked_at import data_or_unsupported
from kfc_bench.experiments.trained import evaluate, trained
from kfc_bench.measure.precision import set_precision
from kfc_bench.problems.images import Split
from kfc_bench.results.schema import Record

OTHERS: tuple[Fisher, ...] = ("mc", "empirical")
SAMPLED = ("kfc", "ekfac", "block_diagonal")
"""What is formed from sampled and from true labels too, as approximations of the exact expectation."""

WHOLE = "exact"
"""The matrix with its blocks between layers."""

Key = tuple[str, Fisher]
"""An approximation, and the source of its vectors."""


def exact_fisher(batches: list[LayerBatch]) -> Tensor:
    """Form F of all layers together (Eq. 3).

    Args:
        batches: What each layer saw.

    Returns:
        ``[P, P]``, layer by layer, each in row-major order of ``[K, D]``.
    """
    found = ExactFisher(damping=1.0)
    found.observe(batches)
    return found.statistics[0][0]


def approximations(batches: dict[Fisher, list[LayerBatch]], index: int) -> Iterator[tuple[Key, Tensor]]:
    """Form every approximation of a layer's block.

    Args:
        batches: By source, what each layer saw.
        index: The layer's place.

    Yields:
        What it is, and ``[KD, KD]``.
    """
    own = batches["type2"][index]
    for name, matrix in ladder(own):
        yield (name, "type2"), matrix
    (block,) = dense_blocks("block_diagonal", [own])
    yield ("nearest_kronecker", "type2"), nearest_kronecker(block, own.geometry.out_channels)
    for name in DENSE:
        yield (name, "type2"), dense_blocks(name, [own])[0]
    for source, name in product(OTHERS, SAMPLED):
        yield (name, source), dense_blocks(name, [batches[source][index]])[0]


@dataclass
class FidelityMeasurement:
    """A network that is compared layer by layer.

    Attributes:
        case: The case.
        observed: The network, and what its layers see.
        trained: How well it is trained: columns of the record.
        rows: Of the layers and networks so far.
    """

    case: FidelityCase
    observed: Observed
    trained: Record
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fisher = exact_fisher(self.observed.batches["type2"])
        self._gradients = self.observed.gradients
        self._here = self.observed.loss([None] * len(self._gradients))
        self._blocks: dict[Key, list[Damped]] = {}
        self._done = 0

    def visit(self) -> bool:
        """Compare everything of one layer, or after the last of the network; return whether more is to do."""
        if self._done < len(self._gradients):
            self._layer(self._done)
        else:
            self._network()
        self._done += 1
        return self._done <= len(self._gradients)

    def _exact(self, matrix: Tensor, gradient: Tensor, layers: list[int]) -> Exact:
        sizes = [len(self._gradients[index]) for index in layers]

        def loss(step: Tensor) -> float:
            moved: dict[int, Tensor] = dict(zip(layers, step.split(sizes), strict=True))
            return self.observed.loss([moved.get(index) for index in range(len(self._gradients))])

        return Exact(Damped.of(matrix, self.case.damping), gradient, self.case.kl, loss, self._here)

    def _layer(self, index: int) -> None:
        start = sum(map(len, self._gradients[:index]))
        own = slice(start, start + len(self._gradients[index]))
        exact = self._exact(self._fisher[own, own], self._gradients[index], [index])
        for key, matrix in approximations(self.observed.batches, index):
            found = Damped.of(matrix, self.case.damping)
            self._blocks.setdefault(key, []).append(found)
            self._add(self.observed.layers[index].name, key, exact, found)

    def _network(self) -> None:
        exact = self._exact(self._fisher, torch.cat(self._gradients), list(range(len(self._gradients))))
        for key, blocks in self._blocks.items():
            self._add(None, key, exact, Damped.joined(blocks))
        self._add(None, (WHOLE, "type2"), exact, exact.damped)
        for source in OTHERS:
            found = Damped.of(exact_fisher(self.observed.batches[source]), self.case.damping)
            self._add(None, (WHOLE, source), exact, found)

    def _add(self, layer: str | None, key: Key, exact: Exact, found: Damped) -> None:
        approximation, source = key
        about = {"layer": layer, "approximation": approximation, "source": source}
        self.rows.append(about | compare(exact, found))

    def record(self) -> Record:
        """Return how well the network is trained, and the rows."""
        return {"status": "ok", **self.trained, "rows": self.rows}


def open_case(case: FidelityCase) -> FidelityMeasurement:
    """Train a network in float32, and let it see the examples in float64.

    Args:
        case: The case.

    Returns:
        A measurement, a visit for each layer and one for the network.

    Raises:
        UnsupportedError: The data is not there.
        FloatingPointError: The training ended in no number.
    """
    set_precision("ieee")
    data = data_or_unsupported(case.training.problem, case.training.device)
    ((_, model),) = trained(case.training, [case.epoch])
    examples = Split(data.train.images[: case.examples], data.train.labels[: case.examples])
    observed = observe(copy.deepcopy(model).double(), examples, case.training.seed)
    train_loss, test_error = evaluate(model, data.train)[0], evaluate(model, data.test)[1]
    return FidelityMeasurement(case, observed, {"train_loss": train_loss, "test_error": test_error})
