"""Ours has no silent error: over every option, by the optimizer that users call."""

from __future__ import annotations

import warnings

import pytest

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.reference import difference, reference
from kfc_bench.audit.verdicts import BOUND, Verdict, judge, without_running
from kfc_bench.audit.worker import observe
from tests.audit.cases import every_option, network

OURS = LIBRARIES["kfc_bench"]
NOT_OURS = {"bias apart"}
"""Needs of options that we do not claim."""


@pytest.fixture(scope="module")
def plain():
    return observe(OURS, OPTIONS["plain"])


@every_option
def test_every_option_is_right(option, plain):
    skipped = without_running(OURS, option, "")
    if skipped is not None:
        assert (skipped.verdict, option.needs in NOT_OURS) == (Verdict.NONE, True)
        return
    record = observe(OURS, option)
    finding = judge(OURS, option, record, plain, "")
    assert (finding.verdict, finding.detail) == (Verdict.RIGHT, "")
    trained = "weight and bias" if "bias=False" not in option.layer and not option.frozen else "weight"
    assert finding.blocks == trained


@every_option
def test_every_option_is_right_with_k_fac_reduce(option):
    from kfc_bench.audit.libraries.kfc_bench import blocks

    model, loss, x, labels = network(option)
    expected = reference(model, loss, x, labels, inputs="reduce", outputs="reduce")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
        ((name, found),) = blocks(model, loss, x, labels, approximation="kfc_reduce").items()
    assert difference(model[0], found, expected[name]) <= BOUND
