import pytest

from kfc_bench.experiments.cost import measurement
from kfc_bench.measure.ceilings import Ceilings


@pytest.fixture(autouse=True)
def _ceilings(monkeypatch):
    """Spare the tests the measurement of the roofline."""
    for name in ("measured_ceilings", "remeasured_ceilings"):
        monkeypatch.setattr(measurement, name, lambda *_: Ceilings(1e12, 1e11))


@pytest.fixture(autouse=True)
def _precision(restored_precision):
    """Opening a case sets the precision flags."""
