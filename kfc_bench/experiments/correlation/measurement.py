"""One correlation case under way: it trains, then looks at batch after batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kfc_bench.experiments.correlation.case import CorrelationCase
from kfc_bench.experiments.correlation.moments import Moments
from kfc_bench.experiments.correlation.observed import Quantity, Watch
from kfc_bench.experiments.correlation.rows import correlation_row
from kfc_bench.experiments.looked_at import data_or_unsupported
from kfc_bench.experiments.trained import evaluate, trained
from kfc_bench.measure.precision import set_precision
from kfc_bench.problems.images import ImageData
from kfc_bench.results.schema import Record
from kfc_kernels import UnsupportedError

VISITS_PER_EPOCH = 10
"""So often a training shows a sign of life."""

EXAMPLES_AT_ONCE = 100
"""Bounds the memory: of the paper's SVHN network some 0.6 GB."""


class CorrelationMeasurement:
    """A network that is trained and looked at.

    Args:
        case: The case.
        data: Its problem's images.
    """

    def __init__(self, case: CorrelationCase, data: ImageData) -> None:
        self._case = case
        self._data = data
        self._record: Record = {}
        self._work = self._steps()

    def visit(self) -> bool:
        """Train a tenth of an epoch, or look at some images; return whether more is to do."""
        return next(self._work, True) is None

    def _steps(self) -> Iterator[None]:
        count = max(1, math.ceil(VISITS_PER_EPOCH * self._case.epochs))
        stops = [self._case.epochs * (done + 1) / count for done in range(count)]
        for _, network in trained(self._case.training, stops):
            model = network
            yield
        watch = Watch(model, self._case.training.seed)
        layers: list[dict[Quantity, Moments]] = [{} for _ in watch.layers]
        for images in self._data.test.images[: self._case.examples].split(EXAMPLES_AT_ONCE):
            for moments, seen in zip(layers, watch.see(images), strict=True):
                for quantity, values in seen.items():
                    if quantity not in moments:
                        moments[quantity] = Moments(values.shape[1:], values.device)
                    moments[quantity].add(values)
            yield
        self._record = {
            "status": "ok",
            "test_error": evaluate(model, self._data.test)[1],
            "rows": [
                {"layer": found.layer.name, "pooling": found.pooling, "quantity": quantity, **correlation_row(own)}
                for found, moments in zip(watch.layers, layers, strict=True)
                for quantity, own in moments.items()
            ],
        }

    def record(self) -> Record:
        """Return the test error, and a row per layer and quantity."""
        return self._record


def open_case(case: CorrelationCase) -> CorrelationMeasurement:
    """Load the data.

    Args:
        case: The case.

    Returns:
        A measurement, many visits for the training and one for each batch that is looked at.

    Raises:
        UnsupportedError: The data is not there, or has too few test images.
    """
    set_precision("ieee")
    problem = case.training.problem
    data = data_or_unsupported(problem, case.training.device)
    if case.examples > len(data.test.labels):
        raise UnsupportedError(f"examples = {case.examples}, but {problem!r} has {len(data.test.labels)} test images")
    return CorrelationMeasurement(case, data)
