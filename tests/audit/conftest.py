from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def default_dtype():
    """Give torch's default dtype back: the audit's scripts make it float64."""
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)
