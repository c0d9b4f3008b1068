"""What every test shares."""

from __future__ import annotations

import pytest
import torch

FLAGS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Two threads that wait for each other crawl where other processes want the cores: here, and in what tests start.

    A fixture, since `pytest --benchmark` loads this file too, and its cases take every core.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def restored_precision():
    """Put the precision flags back as they were."""
    before = [flag.fp32_precision for flag in FLAGS]
    yield
    for flag, value in zip(FLAGS, before, strict=True):
        flag.fp32_precision = value
