"""The paper's Theorems 1 and 2, on statistics for which their assumptions hold exactly."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from kfc_kernels import ConvGeometry, block_fisher, input_factor, output_factor

REFERENCE = {"implementation": "reference"}


def offsets(radius):
    return list(itertools.product(range(-radius, radius + 1), repeat=2))


def shifted_inside(size, *shifts):
    """List the positions t in T for which each t + d lies in T too."""
    inside = [range(n) for n in size]
    return [
        t
        for t in itertools.product(*inside)
        if all(p + o in axis for d in shifts for p, o, axis in zip(t, d, inside, strict=True))
    ]


def beta(size, first, second):
    """Eq. 17, which holds for maps of at least twice the radius."""
    pairs = zip(size, first, second, strict=True)
    rows, columns = (n - max(d, e, 0) + min(d, e, 0) for n, d, e in pairs)
    return rows * columns


def geometry_of(channels, outputs, size, radius, *, bias):
    return ConvGeometry.conv(channels, outputs, size, 2 * radius + 1, padding=radius, bias=bias)


def plug_in(a, radius, *, periodic):
    """Eq. 19 from empirical autocovariances: beta(d, d') Omega(j, j', d' - d)."""
    size = tuple(a.shape[2:])

    def autocovariance(lag):
        if periodic:
            moved = a.roll([-o for o in lag], (2, 3))
            return torch.einsum("njyx,nkyx->jk", a, moved) / a[:, 0].numel()
        pairs = [(t, tuple(p + o for p, o in zip(t, lag, strict=True))) for t in shifted_inside(size, lag)]
        return sum(a[:, :, *t].T @ a[:, :, *u] for t, u in pairs) / (a.shape[0] * len(pairs))

    deltas = offsets(radius)
    blocks = [
        [beta(size, d, e) * autocovariance(tuple(y - x for x, y in zip(d, e, strict=True))) for e in deltas]
        for d in deltas
    ]
    stacked = torch.stack([torch.stack(row) for row in blocks])
    width = a.shape[1] * len(deltas)
    return stacked.permute(2, 0, 3, 1).reshape(width, width)


@pytest.mark.parametrize(("size", "radius"), [((5, 4), 2), ((3, 6), 1), ((4, 4), 2)])
def test_beta_counts_positions(size, radius):
    for d, e in itertools.product(offsets(radius), repeat=2):
        assert beta(size, d, e) == len(shifted_inside(size, d, e))


def test_input_factor_of_ones_is_beta():
    size, radius = (5, 4), 2
    omega = input_factor(
        torch.ones(2, 1, *size, dtype=torch.float64), geometry_of(1, 1, size, radius, bias=True), **REFERENCE
    )
    deltas = offsets(radius)
    table = torch.tensor([[beta(size, d, e) for e in deltas] for d in deltas], dtype=torch.float64)
    assert torch.equal(omega[:-1, :-1], table)
    assert torch.equal(omega[-1, :-1], torch.tensor([(5 - abs(y)) * (4 - abs(x)) for y, x in deltas]).double())
    assert omega[-1, -1] == 20


def circular_shifts(image):
    """Give every shift of an image on the torus: examples whose moments depend on displacement alone."""
    shifts = itertools.product(*map(range, image.shape[1:]))
    return torch.stack([image.roll(shift, (1, 2)) for shift in shifts])


def test_theorem_2_under_spatial_homogeneity():
    generator = torch.Generator().manual_seed(0)
    a = circular_shifts(torch.randn(3, 4, 5, dtype=torch.float64, generator=generator))
    omega = input_factor(a, geometry_of(3, 1, (4, 5), 1, bias=False), **REFERENCE)
    assert_close(omega, plug_in(a, 1, periodic=True))


def test_theorem_1_under_its_three_assumptions():
    generator = torch.Generator().manual_seed(0)
    size, outputs = (4, 3), 2
    images = circular_shifts(torch.randn(2, *size, dtype=torch.float64, generator=generator))
    spikes = torch.eye(12, dtype=torch.float64).reshape(12, 1, *size)
    derivatives = spikes * torch.randn(outputs, 1, 1, dtype=torch.float64, generator=generator)
    a = images.repeat_interleave(len(derivatives), dim=0)
    g = derivatives.repeat(len(images), 1, 1, 1)
    geometry = geometry_of(2, outputs, size, 1, bias=True)
    factors = output_factor(g, geometry, **REFERENCE), input_factor(a, geometry, **REFERENCE)
    assert_close(block_fisher(a, g, geometry, **REFERENCE), torch.kron(*factors))


def test_plug_in_autocovariances_are_indefinite_where_the_factor_is_not():
    a = torch.randn(2, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    factor = torch.linalg.eigvalsh(input_factor(a, geometry_of(4, 1, (4, 4), 1, bias=False), **REFERENCE))
    plugged = torch.linalg.eigvalsh(plug_in(a, 1, periodic=False))
    assert factor.min() >= -1e-12 * factor.max()
    assert plugged.min() < -1e-2 * plugged.max()
