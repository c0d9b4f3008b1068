import pytest
import torch

from kfc_bench.experiments.cost import measurement
from kfc_bench.measure.ceilings import Ceilings

FLAGS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


@pytest.fixture(autouse=True)
def _ceilings(monkeypatch):
    """Spare the tests the measurement of the roofline."""
    for name in ("measured_ceilings", "remeasured_ceilings"):
        monkeypatch.setattr(measurement, name, lambda *_: Ceilings(1e12, 1e11))


@pytest.fixture(autouse=True)
def _precision():
    """Put the precision flags back that opening a case sets."""
    before = [flag.fp32_precision for flag in FLAGS]
    yield
    for flag, value in zip(FLAGS, before, strict=True):
        flag.fp32_precision = value
