"""A step taken apart: every part is checked, and together they are the step."""

import dataclasses

import pytest
import torch

from kfc_bench.errors import UserError
from kfc_bench.experiments.cost.case import NETWORK_PHASES
from kfc_bench.experiments.cost.measurement import Declined, open_case
from kfc_bench.experiments.cost.step_phases import step_phases
from kfc_bench.experiments.cost.workloads import _Training, build
from kfc_bench.optim.clipping import FisherClip
from kfc_bench.resources import share
from kfc_bench.runner.suite import load_suite
from tests.experiments.cost_cases import cost_case
from tests.experiments.test_cost_plan import plan, sweep

STEP = cost_case(approximation="kfc", phase="step", network="digits_small", clip=0.3)
PARTS = [case for name in ("kfc", "ekfac") for case, _ in step_phases(dataclasses.replace(STEP, approximation=name))]


def test_a_step_has_each_part_as_often_as_its_periods_say():
    parts = {case.phase: (case.approximation, case.clip, weight) for case, weight in step_phases(STEP)}
    assert parts == {
        "forward": ("sgd", None, 1),
        "backward": ("sgd", None, 1),
        "update": ("sgd", None, 1),
        "statistics": ("kfc", None, 1 / 2),
        "refresh": ("kfc", None, 1 / 4),
        "precondition": ("kfc", None, 1),
        "clip": ("kfc", 0.3, 1),
    }


def test_what_is_not_done_is_no_part():
    plain = dataclasses.replace(STEP, clip=None)
    assert "clip" not in {case.phase for case, _ in step_phases(plain)}
    sgd = dataclasses.replace(plain, approximation="sgd")
    assert [case.phase for case, _ in step_phases(sgd)] == ["forward", "backward", "update"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # of torch.func.jvp, its own
@pytest.mark.parametrize("case", PARTS, ids=lambda case: case.label)
def test_every_part_passes_its_gate(case):
    measurement = open_case(case)
    assert not isinstance(measurement, Declined), measurement.record()
    assert measurement.visit()


def test_parts_stand_beside_the_step_they_are_of():
    groups = {case.group for case, _ in step_phases(STEP) if case.phase in NETWORK_PHASES}
    assert groups == {STEP.group}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_backward_clip_and_update_are_of_one_gradient():
    backward, (nu,), update = (
        build(dataclasses.replace(STEP, phase=phase), dtype=torch.float64, implementation="auto").once()
        for phase in ("backward", "clip", "update")
    )
    lr = float(update[0].norm() / backward[0].norm())
    for gradient, moved in zip(backward, update, strict=True):
        torch.testing.assert_close(moved, gradient * lr)
    training = _Training(STEP, torch.float64)
    part = FisherClip(training.model, "categorical", "mean", limit=1.0, share=0.25)
    _, logits = training.forward()
    direction = [value.view_as(parameter) for value, parameter in zip(update, training.model.parameters(), strict=True)]
    torch.testing.assert_close(
        nu, part.quadratic(list(training.model.parameters()), direction, logits.shape, None).reshape(1)
    )
    assert float(nu) > 0


MISTAKES = {
    "layer": (('approximation = "sgd"', 'phase = "forward"', 'layer = "digits.fc"'), "measured on a network"),
    "sgd": (('approximation = "sgd"', 'phase = "clip"', 'network = "digits"'), "neither statistics nor clipping"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    lines, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        plan(sweep(*lines, "batch = 1"))


def test_the_suite_has_every_part_of_its_steps():
    cases = load_suite(share("suites") / "steps.toml", "cpu").sections[0].plan.due({})
    have = {case.case_id for case in cases}
    steps = [case for case in cases if case.phase == "step"]
    assert {case.approximation for case in steps} == {"sgd", "kfc", "kfc_reduce", "ekfac", "sua", "diagonal"}
    assert {(case.batch, case.clip) for case in steps if case.approximation == "kfc"} == {
        (batch, clip) for batch in (128, 512) for clip in (None, 0.3)
    }
    taken_apart = [step for step in steps if step.approximation in ("sgd", "kfc")]
    assert {part.case_id for step in taken_apart for part, _ in step_phases(step)} <= have
