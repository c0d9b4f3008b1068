"""Second moments of maps, added up batch by batch, and the correlations that they come to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

REACH = 6
"""Largest displacement in each direction: the paper's grids are 13x13."""

LEAST_SHARE = 1e-9
"""A window with less of a map's energy shows the rounding of the transform (1e-16 of all of it), not the map."""


class Moments:
    """Uncentred second moments of maps over examples and positions, in float64.

    The expectations Gamma(i, i', tau) and Omega(j, j', tau) of section 3 (Eqs. 14 and 15), for tau between any two
    positions of one map, and for tau = 0 between any two maps.

    Args:
        shape: Of the maps of one example, ``(K, H, W)``.
        device: Where they are.
    """

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        maps, rows, columns = shape
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self._padded = (rows + REACH, columns + REACH)
        self._power = zeros(maps, self._padded[0], self._padded[1] // 2 + 1)
        self._energy = zeros(maps, rows, columns)
        self._products = zeros(maps, maps)

    def add(self, values: Tensor) -> None:
        """Add a batch.

        Args:
            values: ``[N, K, H, W]``.
        """
        exact = values.double()
        self._power += torch.fft.rfft2(exact, s=self._padded).abs().square().sum(0)
        self._energy += exact.square().sum(0)
        flat = exact.transpose(0, 1).flatten(1)
        self._products += flat @ flat.mT

    @property
    def alive(self) -> Tensor:
        """Which maps are not zero throughout, ``[K]``."""
        return self._energy.sum((1, 2)) > 0

    def spatial(self) -> Tensor:
        """Correlate each map that is alive with itself, displaced.

        With D the map and sums over all examples and the positions t of which t + tau lies in the map too,
        r(tau) = sum D_t D_{t+tau} / sqrt(sum D_t^2 sum D_{t+tau}^2).

        Returns:
            ``[alive, 13, 13]``, tau = 0 in the middle; NaN where there are no such positions or the map is as good as
            zero there.
        """
        energy = self._energy[self.alive]
        lags = torch.arange(-REACH, REACH + 1, device=energy.device)
        # Padding with zeros makes the transform's circular correlation the sum over positions inside.
        products = torch.fft.irfft2(self._power, s=self._padded)[self.alive][:, lags][:, :, lags]
        windows = torch.stack([self._window(energy, dy, dx) for dy in lags.tolist() for dx in lags.tolist()], dim=1)
        windows = windows.view_as(products)
        ends = windows.flip(1, 2)
        enough = torch.minimum(windows, ends) > LEAST_SHARE * energy.sum((1, 2))[:, None, None]
        return torch.where(enough, products / (windows * ends).sqrt(), torch.nan)

    @staticmethod
    def _window(energy: Tensor, dy: int, dx: int) -> Tensor:
        """Sum over the positions that stay inside when displaced."""
        rows, columns = energy.shape[1:]
        inside = energy[:, max(0, -dy) : max(0, rows - max(0, dy)), max(0, -dx) : max(0, columns - max(0, dx))]
        return inside.sum((1, 2))

    def cross(self) -> Tensor:
        """Correlate the maps that are alive with each other at one position, as an average over all positions.

        Returns:
            ``[alive, alive]``.
        """
        products = self._products[self.alive][:, self.alive]
        scale = products.diagonal().sqrt()
        return products / torch.outer(scale, scale)
