"""Correlations against loops, and on fields whose correlations are known."""

import math
from itertools import product

import pytest
import torch

from kfc_bench.experiments.correlation.moments import REACH, Moments
from kfc_bench.experiments.correlation.rows import SHOWN_CROSS, correlation_row

SIDE = 2 * REACH + 1


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moments_of(*batches):
    moments = Moments(batches[0].shape[1:], batches[0].device)
    for batch in batches:
        moments.add(batch)
    return moments


def by_loops(values, place, dy, dx):
    """One map's correlation with itself, by the definition."""
    rows, columns = values.shape[2:]
    pairs = [
        (float(image[y, x]), float(image[y + dy, x + dx]))
        for image in values[:, place]
        for y, x in product(range(rows), range(columns))
        if 0 <= y + dy < rows and 0 <= x + dx < columns
    ]
    if not pairs:
        return math.nan
    here, there = (math.fsum(value**2 for value in side) for side in zip(*pairs, strict=True))
    return math.fsum(a * b for a, b in pairs) / math.sqrt(here * there)


def test_loops_over_examples_and_positions_find_the_same():
    values = normal(3, 2, 5, 4).abs() + normal(1, 2, 5, 4, seed=1)
    found = moments_of(values[:1], values[1:]).spatial()
    assert (found.dtype, found.shape) == (torch.float64, (2, SIDE, SIDE))
    expected = [
        [[by_loops(values, place, dy, dx) for dx in range(-REACH, REACH + 1)] for dy in range(-REACH, REACH + 1)]
        for place in range(2)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), equal_nan=True)
    assert int(found.isnan().sum()) == 2 * (SIDE**2 - 9 * 7)


def test_across_maps_it_is_the_normalised_second_moment_over_positions():
    values = normal(3, 4, 5, 4) + 0.5
    flat = values.movedim(1, 0).flatten(1)
    expected = [[float(a @ b / (a.norm() * b.norm())) for b in flat] for a in flat]
    found = moments_of(values[:2], values[2:]).cross()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_white_noise_is_uncorrelated():
    """Each entry is a mean over at least 200 * 10 * 10 independent products, so its standard error is below 0.0071."""
    row = correlation_row(moments_of(normal(200, 4, 16, 16)))
    assert max(row[name] for name in ("neighbour", "second", "mean", "cross_mean", "cross_p95")) < 4 * 0.0071


def test_a_constant_image_is_one():
    row = correlation_row(moments_of(normal(5, 3, 1, 1).expand(5, 3, 8, 8)))
    assert (row["neighbour"], row["second"], row["mean"]) == pytest.approx((1, 1, 1))
    assert row["maps"]["spatial"] == [[[1.0] * SIDE] * SIDE] * 3


def test_maps_that_are_multiples_of_each_other_are_one_across():
    image = normal(5, 1, 8, 8)
    row = correlation_row(moments_of(torch.cat([image, -2 * image], dim=1)))
    assert (row["cross_mean"], row["cross_p95"]) == pytest.approx((1, 1))


def test_a_moving_average_has_the_correlation_of_its_overlap():
    """Two windows of 3x3 share (3 - |dy|)(3 - |dx|) of 9 values; the error of 200 images is some 0.01."""
    found = moments_of(torch.nn.functional.avg_pool2d(normal(200, 1, 26, 26), 3, stride=1)).spatial()[0]
    overlap = [max(0, 3 - abs(lag)) for lag in range(-REACH, REACH + 1)]
    expected = torch.tensor([[dy * dx / 9 for dx in overlap] for dy in overlap], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_a_dead_map_is_left_out_and_counted():
    alive = normal(4, 2, 7, 7)
    values = torch.stack([alive[:, 0], torch.zeros(4, 7, 7, dtype=torch.float64), alive[:, 1]], dim=1)
    moments = moments_of(values)
    assert moments.alive.tolist() == [True, False, True]
    row, without = correlation_row(moments), correlation_row(moments_of(alive))
    assert row["maps"].pop("dead") == 1
    assert without["maps"].pop("dead") == 0
    assert row == without


def test_where_nothing_is_alive_nothing_is_defined():
    row = correlation_row(moments_of(torch.zeros(2, 3, 7, 7)))
    assert row.pop("maps") == {"spatial": [], "cross": [], "dead": 3}
    assert set(row.values()) == {None}


def test_where_a_map_sees_nothing_there_is_no_correlation():
    values = torch.zeros(2, 1, 8, 8)
    values[:, 0, 0] = normal(2, 8)
    grid = moments_of(values).spatial()[0]
    assert grid[REACH].isfinite().all()
    assert grid[:REACH].isnan().all()
    assert grid[REACH + 1 :].isnan().all()
    assert correlation_row(moments_of(values))["maps"]["spatial"][0][0] == [None] * SIDE


def test_the_grids_stay_small():
    maps = correlation_row(moments_of(normal(2, 40, 7, 7)))["maps"]
    assert (len(maps["spatial"]), len(maps["cross"]), len(maps["cross"][0])) == (3, SHOWN_CROSS, SHOWN_CROSS)
    assert all(value == round(value, 4) for line in maps["cross"] for value in line)
