import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from kfc_bench.measure.paired import FEWEST_PAIRS, PairedRatio


def drawn(seed, pairs, *, ratio=1.0, spread=0.05, drift=0.3):
    """Draw two cases on a machine whose speed drifts by far more than the noise within a round."""
    random = np.random.default_rng(seed)
    speed = np.exp(drift * np.cumsum(random.normal(size=pairs)) / math.sqrt(pairs))
    base, other = np.exp(spread * random.standard_t(3, size=(2, pairs)))
    return PairedRatio((speed * base).tolist(), (ratio * speed * other).tolist())


@pytest.mark.parametrize("pairs", [6, 13, 30])
@pytest.mark.parametrize("bound", [0.97, 1.0, 1.05])
def test_p_values_are_those_of_the_signed_rank_test(pairs, bound):
    paired = drawn(pairs, pairs, ratio=1.02)
    logs = np.log(np.array(paired.other) / paired.base) - math.log(bound)
    assert paired.p_above(bound) == pytest.approx(wilcoxon(logs, alternative="greater", method="exact").pvalue)
    assert paired.p_below(bound) == pytest.approx(wilcoxon(logs, alternative="less", method="exact").pvalue)


@pytest.mark.parametrize("pairs", [6, 12, 40])
def test_the_interval_holds_what_the_test_does_not_reject(pairs):
    paired = drawn(1, pairs, ratio=1.1)
    low, high = paired.interval()
    inside, outside = 1 + 1e-9, 1 - 1e-9
    assert paired.p_above(low * inside) > 0.025 >= paired.p_above(low * outside)
    assert paired.p_below(high * outside) > 0.025 >= paired.p_below(high * inside)
    assert low < paired.ratio < high


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_too_few_pairs_have_no_interval(pairs):
    assert drawn(0, pairs).interval() is None
    assert drawn(0, FEWEST_PAIRS).interval() is not None


def test_only_rounds_that_visited_both_count():
    assert PairedRatio([1.0, 2.0, 3.0], [2.0, 4.0]).pairs == 2


def test_a_factor_is_found_whatever_the_drift():
    paired = PairedRatio([1.0, 10.0, 100.0, 3.0, 0.1, 7.0], [1.1, 11.0, 110.0, 3.3, 0.11, 7.7])
    assert paired.ratio == pytest.approx(1.1)
    assert paired.interval() == pytest.approx((1.1, 1.1))


def test_equal_times_are_no_difference():
    paired = PairedRatio([1.0] * 12, [1.0] * 12)
    assert (paired.ratio, paired.interval()) == (1.0, (1.0, 1.0))
    assert paired.p_above(1.0) == paired.p_below(1.0) == 1.0


@pytest.mark.parametrize("pairs", [8, 20])
def test_the_interval_covers_the_ratio_under_drift(pairs):
    trials = 800
    intervals = [drawn(seed, pairs, ratio=1.2).interval() for seed in range(trials)]
    covered = sum(low <= 1.2 <= high for low, high in intervals)
    assert covered / trials >= 0.95 - 2.5 * (0.95 * 0.05 / trials) ** 0.5
    unpaired = np.std(
        [np.log(np.median(paired.other) / 1.2) for paired in (drawn(s, pairs, ratio=1.2) for s in range(50))]
    )
    widths = np.median([math.log(high / low) for low, high in intervals])
    assert widths < 2 * 1.96 * unpaired, "pairing must beat what medians alone would say"
