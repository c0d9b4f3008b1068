"""The phases that a step marks, by the optimizers themselves."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from kfc_bench.optim import KFCPre
from kfc_bench.spans import OTHER, listening, span
from tests.test_spans import Borders

FACTORS = {("input factor", "0"), ("output factor", "0"), ("input factor", "3"), ("output factor", "3")}
LAYERWISE = {("statistics", "0"), ("statistics", "3")}


def spans_of(approximation, *, due):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    optimizer = KFCPre(model, lr=0.1, approximation=approximation, averaging=5, statistics_every=2, inverses_every=2)
    borders = Borders()
    for place in range(2):
        optimizer.zero_grad()
        logits = model(torch.randn(4, 1, 4, 4))
        loss = functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
        if place == (0 if due else 1):
            with listening(borders), span("step"):
                optimizer.backward(loss, logits)
                optimizer.step()
            assert borders.current == OTHER
        else:
            optimizer.backward(loss, logits)
            optimizer.step()
    return set(borders.seen)


EVERY_STEP = {"backward", "precondition", "clip", "finite check", "update", "averaging", "step", "other"}


@pytest.mark.parametrize(
    ("approximation", "own"),
    [
        ("kfc", FACTORS),
        ("kfc_reduce", FACTORS),
        ("sua", FACTORS),
        ("prong", {("input factor", "0"), ("input factor", "3")}),
        ("ekfac", FACTORS | {("eigenvalue correction", "0"), ("eigenvalue correction", "3")}),
        ("diagonal", LAYERWISE),
        ("mini_block", LAYERWISE),
        ("block_diagonal", LAYERWISE),
        ("exact", {("statistics", "")}),
    ],
)
def test_statistics_are_marked_by_layer(approximation, own):
    seen = spans_of(approximation, due=True)
    assert own <= seen
    assert ("statistics", "1") in seen
    assert {phase for phase, _ in seen} == EVERY_STEP | {"sampled backward", "inverse", "statistics"} | {
        phase for phase, _ in own
    }


def test_a_step_between_gathers_nothing():
    seen = spans_of("kfc", due=False)
    assert {phase for phase, _ in seen} == EVERY_STEP
    assert ("precondition", ("0", "3")) in seen
    assert ("precondition", ("1",)) in seen
