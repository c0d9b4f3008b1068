"""How fast each implementation of the input factor gets through its work: what ``"auto"`` chooses by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kfc_kernels.dispatch import Case
from kfc_kernels.geometry import ConvGeometry
from kfc_kernels.input_factor.work import Work


@dataclass(frozen=True)
class Rates:
    """What a device does in a second for one implementation.

    Attributes:
        flops: Multiplications and additions.
        bytes: Bytes read and written.
        call: Seconds that each call costs.
    """

    flops: float
    bytes: float
    call: float

    def seconds(self, work: Work) -> float:
        """Predict how long ``work`` takes, its parts one after the other."""
        return work.flops / self.flops + work.bytes / self.bytes + work.calls * self.call


# Fitted to the times in results/cpu/dispatch-fit (`kfc-bench choices`): two cores, float32. Another CPU shifts all of
# them, but their ratios decide.
CPU = {
    "reference": Rates(flops=4.36e11, bytes=1.10e10, call=3.6e-6),
    "autocovariance": Rates(flops=3.15e11, bytes=1.03e10, call=6.4e-6),
}


def predictor(name: str, work: Callable[[ConvGeometry, int], Work]) -> Callable[[Case], float]:
    """Make the function that predicts an implementation's time.

    Args:
        name: The implementation.
        work: Counts its work on a layer and a batch.

    Returns:
        Seconds of a case.
    """

    def seconds(case: Case) -> float:
        if case.geometry is None:
            raise ValueError("the input factor is of a layer")
        return CPU[name].seconds(work(case.geometry, case.batch))

    return seconds
