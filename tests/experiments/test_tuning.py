import math

import pytest

from kfc_bench.experiments.convergence.tuning import WORST, Axis, grid, is_on_edge, propose, winner

LR = Axis("lr", (0.01, 0.1, 1.0))
MOMENTUM = Axis("momentum", (0.5, 0.9))
FIXED = Axis("weight_decay", (0.0,))
DAMPING = Axis("damping", (1e-3, 1e-2))
BATCH = Axis("batch", (32, 64, 128))
SCHEDULE = Axis("schedule", ("constant", "cosine"))


def scored(axes, best, **others):
    """Score the grid by distance from one point, on the axes' own scales."""
    return {point: (distance(axes, point, best), float(point != best)) for point in grid(axes)} | others


def distance(axes, point, best):
    return sum(
        abs(axis.to_log(a) - axis.to_log(b)) for axis, a, b in zip(axes, point, best, strict=True) if axis.is_refined
    )


PROPOSALS = {
    "beyond-the-top": ((LR,), (1.0,), (10.0,)),
    "beyond-the-bottom": ((LR,), (0.01,), (0.001,)),
    "half-way-inside": ((LR,), (0.1,), (0.0316228,)),
    "momentum-up": ((MOMENTUM,), (0.9,), (0.98,)),
    "momentum-down": ((Axis("momentum", (0.8, 0.9)),), (0.8,), (0.6,)),
    "momentum-stops-at-zero": ((MOMENTUM,), (0.5,), (0.0,)),
    "fixed-axes-stay": ((LR, Axis("momentum", (0.9,)), FIXED), (1.0, 0.9, 0.0), (10.0, 0.9, 0.0)),
    "edges-first": ((LR, DAMPING), (0.1, 1e-2), (0.1, 0.1)),
    "choices-stay": ((BATCH, LR, SCHEDULE), (128, 1.0, "cosine"), (128, 10.0, "cosine")),
    "two-edges-in-turn": ((LR, DAMPING), (1.0, 1e-2), (10.0, 1e-2)),
}


@pytest.mark.parametrize("case", PROPOSALS)
def test_propose(case):
    axes, best, expected = PROPOSALS[case]
    for found, value in zip(propose(axes, scored(axes, best)), expected, strict=True):
        assert found == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5))


def test_nothing_swept_proposes_nothing():
    axes = (Axis("lr", (0.1,)), FIXED)
    assert propose(axes, {(0.1, 0.0): (3, 0.1)}) is None
    assert not is_on_edge(axes, {(0.1, 0.0): (3, 0.1)})


def test_choices_alone_propose_nothing_and_have_no_edge():
    axes = (BATCH, SCHEDULE, FIXED)
    tried = scored(axes, (128, "cosine", 0.0))
    assert winner(tried) == (128, "cosine", 0.0)
    assert propose(axes, tried) is None
    assert not is_on_edge(axes, tried)


@pytest.mark.parametrize("best", [(0.01, 0.5), (1.0, 0.9), (0.1, 0.9), (30.0, 0.99), (1e-4, 0.2)], ids=str)
def test_proposals_never_repeat_and_close_in(best):
    axes = (LR, MOMENTUM)
    tried = scored(axes, best)
    first = distance(axes, winner(tried), best)
    for _ in range(12):
        point = propose(axes, tried)
        assert point is not None
        assert point not in tried
        assert point[0] > 0
        assert 0 <= point[1] < 1
        tried[point] = (distance(axes, point, best), 0.0)
    assert distance(axes, winner(tried), best) <= min(first, 1.2)


def test_a_widened_axis_is_on_the_edge_until_something_beyond_is_worse():
    axes = (LR,)
    tried = scored(axes, (1.0,))
    assert is_on_edge(axes, tried)
    tried[propose(axes, tried)] = WORST
    assert winner(tried) == (1.0,)
    assert not is_on_edge(axes, tried)


def test_zero_momentum_is_no_edge():
    axes = (Axis("momentum", (0.0, 0.9)),)
    tried = scored(axes, (0.0,))
    assert not is_on_edge(axes, tried)
    assert propose(axes, tried) == pytest.approx((0.683772,))


def test_refinement_turns_to_the_widest_gap():
    axes, best = (LR,), (0.1,)
    tried = scored(axes, best)
    for _ in range(4):
        tried[propose(axes, tried)] = WORST
    added = sorted(point[0] for point in tried if point not in grid(axes))
    assert added == pytest.approx([0.0316228, 0.0562341, 0.177828, 0.316228], rel=1e-4)


def test_the_winner_is_the_best_and_the_first_among_equals():
    tried = {(0.1,): (math.inf, 0.5), (0.2,): (9, 0.9), (0.3,): (9, 0.2), (0.4,): (9, 0.2), (0.5,): WORST}
    assert winner(tried) == (0.3,)


def test_where_all_trials_fail_the_search_goes_down_and_the_winner_is_on_the_edge():
    axes = (Axis("lr", (0.1, 0.3)),)
    tried = dict.fromkeys(grid(axes), WORST)
    for rate in (0.0333333, 0.0111111, 0.0037037):
        assert is_on_edge(axes, tried)
        following = propose(axes, tried)
        assert following == pytest.approx((rate,), rel=1e-4)
        tried[following] = WORST


@pytest.mark.parametrize("axis", [LR, MOMENTUM, DAMPING], ids=lambda axis: axis.name)
@pytest.mark.parametrize("value", [0.001, 0.123457, 0.9, 0.999])
def test_the_scale_goes_both_ways(axis, value):
    assert axis.from_log(axis.to_log(value)) == value


def test_grid():
    assert grid((LR, MOMENTUM, FIXED)) == [(lr, m, 0.0) for lr in LR.values for m in MOMENTUM.values]
