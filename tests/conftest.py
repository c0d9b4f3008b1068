"""What every test shares."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two threads that wait for each other crawl where other processes want the cores.

    A fixture, since `pytest --benchmark` loads this file too, and its cases take every core.
    """
    torch.set_num_threads(1)
