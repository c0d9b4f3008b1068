"""Problems by name: images to classify, cut in three and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kfc_bench.problems.data_set import DataSet
from kfc_bench.problems.digits import TRAIN, digits
from kfc_bench.problems.images import ImageData
from kfc_bench.problems.preparation import Statistics, as_colour, channel_statistics, mean_image, prepare
from kfc_bench.problems.published import CIFAR10, FASHION, SVHN


@dataclass(frozen=True)
class Problem:
    """Images to classify.

    Attributes:
        load: Reads, verifies, cuts and scales the data, or raises UserError.
        count: Says how many images there are to train on, by which files are there; nothing is read.
        input_shape: Of one image, ``(C, H, W)``.
        classes: Number of labels.
        check: Raises UserError if the data is not there; nothing is read.
    """

    load: Callable[[], ImageData]
    count: Callable[[], int]
    input_shape: tuple[int, int, int]
    classes: int
    check: Callable[[], None]

    @property
    def train(self) -> int:
        """Images to train on; of SVHN's, whether ``extra`` is there decides."""
        return self.count()


def problem(data_set: DataSet, input_shape: tuple[int, int, int], validation: int, statistics: Statistics) -> Problem:
    """Make a problem of a published data set.

    Args:
        data_set: Its files.
        input_shape: Of one image, ``(C, H, W)``.
        validation: How many training images are cut off to tune on.
        statistics: How images are scaled, see `prepare`.

    Returns:
        The problem.
    """
    return Problem(
        load=lambda: prepare(*data_set.find().read(), validation, statistics),
        count=lambda: data_set.train - validation,
        input_shape=input_shape,
        classes=10,
        check=lambda: data_set.find().check(),
    )


_FASHION = problem(FASHION, (1, 28, 28), 5_000, mean_image)

PROBLEMS: dict[str, Problem] = {
    "digits": Problem(digits, lambda: TRAIN, (1, 8, 8), 10, lambda: None),
    "fashion": _FASHION,
    "fashion32": Problem(
        lambda: as_colour(_FASHION.load(), 32), _FASHION.count, (3, 32, 32), _FASHION.classes, _FASHION.check
    ),
    "cifar10": problem(CIFAR10, (3, 32, 32), 5_000, mean_image),
    "svhn": problem(SVHN, (3, 32, 32), 6_000, channel_statistics),
}
"""Data sets that networks are trained on.

``fashion32`` is ``fashion`` padded with zeros to 32x32, its channel repeated three times, so that networks for
CIFAR-10 run on it. SVHN is trained on ``train`` and ``extra`` together where the latter is there; its 6,000 validation
images are drawn from both alike (Srivastava et al. 2014 draw 400 per class from ``train`` and 200 from ``extra``).
"""
