"""suites/paper.toml: variants plan, optimizers are tuned alike, and the page of the paper finds what it looks for."""

import dataclasses

import pytest

from kfc_bench.curvature import APPROXIMATIONS
from kfc_bench.experiments.convergence.optimizers import OPTIMIZERS
from kfc_bench.problems.datasets import PROBLEMS
from kfc_bench.report.paper.reference import reference
from kfc_bench.resources import share
from kfc_bench.runner.suite import load_suite

PATH = share("suites") / "paper.toml"


@pytest.fixture
def sections(monkeypatch):
    """Read a variant as where all data is there."""
    for name, problem in PROBLEMS.items():
        monkeypatch.setitem(PROBLEMS, name, dataclasses.replace(problem, check=lambda: None))
    return lambda variant: {section.name: section.plan for section in load_suite(PATH, "cpu", variant).sections}


def test_the_small_variant_has_every_optimizer_that_fits(sections):
    plan = sections("small")["digits"]
    names = {contestant.name for contestant in plan.contestants}
    assert names == {*OPTIMIZERS} - {"adam", "kfc_eigen"}
    assert names >= {*APPROXIMATIONS} - {"identity", "kfc_eigen"}
    assert len(plan.seeds) == 5


def test_a_search_reports_nothing(sections):
    for plan in sections("search").values():
        assert {case.role for case in plan.due({})} == {"tuning"}
        assert plan.total == len(plan.contestants) * plan.trials


def test_the_full_variant_has_what_the_page_of_the_paper_looks_for(sections):
    names = [*sections("full")]
    for item in reference().items:
        if item.data and item.part:
            assert [name for name in names if f"{name}-".startswith(f"{item.data}-{item.part}-")], item.key


@pytest.mark.parametrize("variant", ["small", "full"])
def test_reports_have_seeds_that_no_tuning_saw(sections, variant):
    for plan in sections(variant).values():
        assert len(plan.seeds) >= 3
        assert plan.tuning_seed not in plan.seeds
        assert plan.extra_trials > 0
