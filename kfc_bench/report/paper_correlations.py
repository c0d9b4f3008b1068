"""What Figs. 3 and 4 of Grosse & Martens (2016) show, digitised: means over three maps, and over 32 across maps."""

from __future__ import annotations

from typing import NamedTuple


class PaperCorrelation(NamedTuple):
    """Absolute correlations of one layer, read off grey levels; None where no figure shows them.

    Attributes:
        neighbour: With the four neighbours.
        second: At offset 2.
        mean: Over all offsets up to 6 but zero.
        cross_mean: Across maps at one position, off the diagonal.
        cross_p95: Their 95th percentile.
    """

    neighbour: float
    second: float
    mean: float
    cross_mean: float | None = None
    cross_p95: float | None = None


PAPER: dict[tuple[str, str, str, str], PaperCorrelation] = {
    ("cifar10", "conv1", "derivative", "max"): PaperCorrelation(0.10, 0.13, 0.031, 0.035, 0.10),
    ("cifar10", "conv2", "derivative", "max"): PaperCorrelation(0.11, 0.09, 0.016, 0.013, 0.037),
    ("cifar10", "conv3", "derivative", "average"): PaperCorrelation(0.44, 0.18, 0.035, 0.024, 0.09),
    ("svhn", "conv1", "derivative", "max"): PaperCorrelation(0.03, 0.04, 0.008, 0.021, 0.072),
    ("svhn", "conv2", "derivative", "max"): PaperCorrelation(0.05, 0.03, 0.004, 0.005, 0.024),
    ("svhn", "conv3", "derivative", "max"): PaperCorrelation(0.02, 0.01, 0.001, 0.004, 0.02),
    ("cifar10_average", "conv1", "derivative", "average"): PaperCorrelation(0.74, 0.74, 0.24, 0.132, 0.47),
    ("cifar10_average", "conv2", "derivative", "average"): PaperCorrelation(0.64, 0.52, 0.12, 0.062, 0.17),
    ("cifar10_average", "conv3", "derivative", "average"): PaperCorrelation(0.42, 0.18, 0.033, 0.022, 0.08),
    ("svhn_average", "conv1", "derivative", "average"): PaperCorrelation(0.61, 0.57, 0.17, 0.141, 0.39),
    ("svhn_average", "conv2", "derivative", "average"): PaperCorrelation(0.44, 0.25, 0.057, 0.078, 0.21),
    ("svhn_average", "conv3", "derivative", "average"): PaperCorrelation(0.21, 0.06, 0.014, 0.019, 0.05),
    ("cifar10", "conv1", "activation", "max"): PaperCorrelation(0.86, 0.69, 0.31),
    ("cifar10", "conv2", "activation", "max"): PaperCorrelation(0.80, 0.60, 0.27, 0.487, 0.75),
    ("cifar10", "conv3", "activation", "average"): PaperCorrelation(0.66, 0.38, 0.13, 0.295, 0.51),
    ("svhn", "conv1", "activation", "max"): PaperCorrelation(0.76, 0.64, 0.28),
    ("svhn", "conv2", "activation", "max"): PaperCorrelation(0.79, 0.59, 0.25, 0.490, 0.81),
    ("svhn", "conv3", "activation", "max"): PaperCorrelation(0.65, 0.36, 0.13, 0.223, 0.43),
}
"""By network, layer, quantity and the pooling behind the layer: on CIFAR-10 and SVHN, after 50 epochs of SGD."""
