from tests.experiments.conftest import _ceilings, _precision

__all__ = ["_ceilings", "_precision"]
