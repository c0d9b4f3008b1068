"""The words of the pages, explained where they stand."""

from __future__ import annotations

PHASES = ("accumulate", "refresh", "precondition", "step")

PHASE = {
    "accumulate": "**accumulate**: add one batch's statistics to the approximation",
    "refresh": "**refresh**: turn the statistics into a damped inverse",
    "precondition": "**precondition**: multiply a gradient by that inverse",
    "step": "**step**: one training step of the whole network, its statistics and inverses renewed at their periods",
}

MEASURE = {
    "time": "**Time**: median; the bar is its 95 % interval.",
    "memory": "**Peak memory**: beyond the inputs, result included.",
}

RELATIVE = (
    "**Relative to SGD**: above 1 is slower, or larger, than SGD's step on the same network and batch. "
    "The ratio's interval divides the far ends of the two 95 % intervals, so it is never too narrow."
)

UNSUPPORTED = "**Hollow**: not run, because these predicted bytes exceed the run's limit."
MISSING = "**✕** on the top edge: no value, because the case was not run or failed; the table says why."
ZERO = "On the bottom edge: 0, for which a logarithmic axis has no place."

CURVE = "Line: median over the seeds. Band: from the lowest seed to the highest. Seconds exclude evaluation."

TARGET_TABLE = (
    "Each optimizer was tuned with the same number of trials on validation data; these are its winner's runs on test "
    "data, with seeds that tuning never saw. Times are medians over the seeds; seconds exclude evaluation. A seed that "
    "never arrives counts as infinite: the cell is empty where the median seed does not arrive. Ratios: below 1 is "
    "sooner than SGD."
)

ON_EDGE = "The winner lies on the edge of what was tried: a wider search might do better."

TUNING = (
    "A trial's rank: fewest examples (steps times batch) to the target on validation data, "
    "then the lowest last validation loss. "
    "**best** marks the hyperparameters that the table above reports."
)
