"""What every test shares."""

from __future__ import annotations

import torch

# Two threads that wait for each other crawl where other processes want the cores.
torch.set_num_threads(1)
