"""Likelihoods against torch's own losses: Hessians, samples, scales, masks and products."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.autograd.functional import hessian
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature.likelihoods import (
    LIKELIHOODS,
    REDUCTIONS,
    counted,
    fisher_products,
    loss_scale,
    sampled_vectors,
    type2_vectors,
)
from kfc_bench.optim import NaturalGradient
from tests.curvature.autodiff import TIGHT, normal


def logits(examples, classes, dtype=torch.float64):
    return torch.randn(examples, classes, dtype=dtype, generator=torch.Generator().manual_seed(0))


def draw(outputs, samples=1, seed=0, likelihood="categorical"):
    return sampled_vectors(outputs, likelihood, samples=samples, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Case:
    """A loss of torch's on outputs of a shape, with the targets that a mask leaves."""

    likelihood: str
    shape: tuple[int, ...]
    mask: torch.Tensor | None = None
    smoothing: float = 0.0

    @property
    def id(self):
        mask = "" if self.mask is None else f"-mask{self.mask.ndim}"
        return f"{self.likelihood}-{'x'.join(map(str, self.shape))}{mask}{'-smooth' * bool(self.smoothing)}"

    @property
    def outputs(self):
        return normal(*self.shape)

    @property
    def targets(self):
        generator = torch.Generator().manual_seed(7)
        if self.likelihood == "categorical":
            return torch.randint(self.shape[1], (self.shape[0], *self.shape[2:]), generator=generator)
        if self.likelihood == "bernoulli":
            return torch.randint(2, self.shape, generator=generator).double()
        return torch.randn(self.shape, dtype=torch.float64, generator=generator)

    @property
    def of_terms(self):
        """The mask, spread over each example's positions."""
        terms = self.targets
        if self.mask is None:
            return torch.ones_like(terms, dtype=torch.bool)
        return self.mask.reshape(*self.mask.shape, *[1] * (terms.ndim - self.mask.ndim)).expand_as(terms)

    @property
    def examples(self):
        return self.shape[0] if self.mask is None else int(counted(self.mask).sum())

    def loss(self, outputs, reduction):
        """Reduce as torch does."""
        mask, targets = self.of_terms, self.targets
        if self.likelihood == "categorical":
            ignored = torch.where(mask, targets, -100)
            return functional.cross_entropy(outputs, ignored, reduction=reduction, label_smoothing=self.smoothing)
        if self.likelihood == "bernoulli":
            return functional.binary_cross_entropy_with_logits(outputs[mask], targets[mask], reduction=reduction)
        if self.likelihood == "square":
            return functional.mse_loss(outputs[mask], targets[mask], reduction=reduction)
        total = functional.mse_loss(outputs[mask], targets[mask], reduction="sum") / 2
        return total if reduction == "sum" else total / self.examples

    def surprise(self, outputs):
        """Return each example's negative log-likelihood, without a Gaussian's constant."""
        if self.likelihood == "categorical":
            terms = -outputs.log_softmax(1).gather(1, self.targets.unsqueeze(1)).squeeze(1)
        elif self.likelihood == "bernoulli":
            terms = -(
                self.targets * functional.logsigmoid(outputs) + (1 - self.targets) * functional.logsigmoid(-outputs)
            )
        else:
            terms = (outputs - self.targets).square() / 2
        return (terms * self.of_terms).flatten(1).sum(1) if terms.ndim > 1 else terms * self.of_terms

    def hessian(self, reduction):
        """Differentiate the reduced loss twice by all outputs, ``[outputs, outputs]``."""
        size = self.outputs.numel()
        return hessian(partial(self.loss, reduction=reduction), self.outputs).reshape(size, size)


OF_EXAMPLES = torch.tensor([True, False, True, True])
OF_POSITIONS = torch.tensor([[True, False, True], [False, False, False], [True, True, True], [False, False, True]])
CASES = [
    Case("categorical", (4, 3)),
    Case("categorical", (4, 3), OF_EXAMPLES),
    Case("categorical", (4, 2, 3)),
    Case("categorical", (4, 2, 3), OF_EXAMPLES),
    Case("categorical", (4, 2, 3), OF_POSITIONS),
    Case("categorical", (2, 3, 2, 2)),
    Case("categorical", (4, 3), smoothing=0.3),
    Case("categorical", (4, 2, 3), OF_POSITIONS, smoothing=0.3),
    Case("bernoulli", (4,)),
    Case("bernoulli", (4,), OF_EXAMPLES),
    Case("bernoulli", (4, 3)),
    Case("bernoulli", (4, 3), OF_EXAMPLES),
    Case("bernoulli", (4, 3), OF_POSITIONS),
    Case("bernoulli", (2, 3, 2)),
    Case("square", (4,)),
    Case("square", (4, 3)),
    Case("square", (4, 3), OF_EXAMPLES),
    Case("square", (4, 3), OF_POSITIONS),
    Case("square", (2, 3, 2)),
    Case("gaussian", (4,)),
    Case("gaussian", (4, 3)),
    Case("gaussian", (4, 3), OF_EXAMPLES),
    Case("gaussian", (4, 3), OF_POSITIONS),
    Case("gaussian", (2, 3, 2)),
]
LIKELIHOOD_CASES = [case for case in CASES if not case.smoothing]
WHOLE_CASES = [case for case in LIKELIHOOD_CASES if case.mask is None]
every_likelihood_case = pytest.mark.parametrize("case", LIKELIHOOD_CASES, ids=lambda case: case.id)
every_whole_case = pytest.mark.parametrize("case", WHOLE_CASES, ids=lambda case: case.id)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def vectors_of(case, reduction, fisher, samples=1):
    """Return what the optimizer backpropagates."""
    model = nn.Linear(1, 1)
    optimizer = NaturalGradient(
        model, 0.1, likelihood=case.likelihood, reduction=reduction, fisher=fisher, samples=samples
    )
    outputs = case.outputs.requires_grad_()
    optimizer._check(outputs, case.mask)
    return optimizer._vectors(case.loss(outputs, reduction), outputs, case.mask)


def mean_outer(case, vectors):
    """Return sum over v of (1/N) g g^T for each example, on the diagonal of all outputs."""
    rows = vectors.flatten(2) if vectors.ndim > 2 else vectors.unsqueeze(2)
    return torch.block_diag(*torch.einsum("vnp,vnq->npq", rows, rows) / case.examples)


@every_reduction
@every_case
def test_type2_vectors_give_the_hessian_of_torch_s_loss(case, reduction):
    assert_close(mean_outer(case, vectors_of(case, reduction, "type2")), case.hessian(reduction), **TIGHT)


@every_reduction
@every_case
def test_sampled_vectors_give_it_in_expectation(case, reduction):
    wanted = case.hessian(reduction)
    found = mean_outer(case, vectors_of(case, reduction, "mc", samples=20000))
    assert (found - wanted).norm() < 0.04 * wanted.norm()


@every_reduction
@every_likelihood_case
def test_empirical_vectors_are_the_targets_own(case, reduction):
    outputs = case.outputs.requires_grad_()
    (own,) = torch.autograd.grad(case.surprise(outputs).sum(), outputs)
    scale = case.loss(outputs, reduction) / (case.surprise(outputs).sum() / case.examples)
    found = mean_outer(case, vectors_of(case, reduction, "empirical"))
    assert_close(found, scale.detach() * mean_outer(case, own.unsqueeze(0)), **TIGHT)


@every_reduction
@every_likelihood_case
def test_the_loss_is_its_scale_times_the_mean_surprise(case, reduction):
    mean = case.surprise(case.outputs).sum() / case.examples
    scale = loss_scale(case.outputs, case.likelihood, reduction, case.mask)
    assert_close(scale * mean, case.loss(case.outputs, reduction), **TIGHT)


@every_whole_case
def test_products_are_those_with_the_hessian_of_the_surprise(case):
    outputs, tangents = case.outputs, torch.randn(case.shape, dtype=torch.float64)
    size = outputs.numel()
    matrix = hessian(lambda value: case.surprise(value).sum(), outputs).reshape(size, size)
    products = fisher_products(outputs, tangents, case.likelihood)
    assert products.shape == case.targets.shape
    by_output = (tangents.flatten() * (matrix @ tangents.flatten())).reshape(case.shape)
    assert_close(products, by_output.sum(1) if case.likelihood == "categorical" else by_output, **TIGHT)


@every_likelihood
def test_unmasked_and_all_true_are_the_same(likelihood):
    shape = (4, 2, 3) if likelihood == "categorical" else (4, 3)
    plain, full = Case(likelihood, shape), Case(likelihood, shape, torch.ones_like(OF_POSITIONS))
    assert_close(vectors_of(full, "mean", "mc"), vectors_of(plain, "mean", "mc"), rtol=0, atol=0)


def linear_step(likelihood, reduction, approximation, *, mask=None, damping=1e-18):
    """Take one step of a linear layer; return the layer and the loss it had."""
    case = Case(likelihood, (12, 2), mask)
    model = nn.Linear(3, 2).double()
    nn.init.constant_(model.weight, 0.1)
    nn.init.constant_(model.bias, -0.2)
    optimizer = NaturalGradient(
        model,
        1.0,
        momentum=0.0,
        likelihood=likelihood,
        approximation=approximation,
        reduction=reduction,
        damping=damping,
        fisher="type2",
    )
    outputs = model(INPUTS)
    optimizer.backward(case.loss(outputs, reduction), outputs, mask)
    optimizer.step()
    return torch.cat([model.weight.detach(), model.bias.detach().unsqueeze(1)], 1)


INPUTS = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(11))
SOME = torch.arange(12) % 3 != 0
REGULAR = ["bernoulli", "square", "gaussian"]


@pytest.mark.parametrize("mask", [None, SOME, torch.stack([SOME, SOME.roll(1)], 1)], ids=["all", "some", "positions"])
@pytest.mark.parametrize("approximation", ["kfc", "kfc_reduce", "ekfac", "diagonal", "block_diagonal", "exact"])
@pytest.mark.parametrize("likelihood", REGULAR)
def test_an_undamped_step_does_not_depend_on_the_reduction(likelihood, approximation, mask):
    by_mean, by_sum = (linear_step(likelihood, reduction, approximation, mask=mask) for reduction in REDUCTIONS)
    assert_close(by_sum, by_mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mask", [None, SOME], ids=["all", "some"])
def test_nor_does_that_of_a_softmax(mask):
    by_mean, by_sum = (linear_step("categorical", reduction, "diagonal", mask=mask) for reduction in REDUCTIONS)
    assert_close(by_sum, by_mean, rtol=1e-6, atol=1e-6)


@every_reduction
@pytest.mark.parametrize("mask", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("likelihood", ["square", "gaussian"])
def test_an_undamped_step_solves_least_squares(likelihood, mask, reduction):
    kept = slice(None) if mask is None else mask
    rows = torch.cat([INPUTS, torch.ones(12, 1).double()], 1)[kept]
    wanted = torch.linalg.lstsq(rows, Case(likelihood, (12, 2)).targets[kept]).solution.T
    assert_close(linear_step(likelihood, reduction, "exact", mask=mask), wanted, rtol=1e-6, atol=1e-6)


class Positions(nn.Module):
    """Logits ``[N, C, L]`` of a linear layer at each position."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2).double()

    def forward(self, x):
        return self.fc(x).movedim(2, 1)


@pytest.mark.parametrize("mask", [OF_EXAMPLES, OF_POSITIONS], ids=["examples", "positions"])
def test_examples_that_do_not_count_are_not_in_omega(mask):
    model, x = Positions(), normal(4, 3, 3)
    optimizer = NaturalGradient(model, 0.1, fisher="type2")
    outputs = model(x)
    targets = torch.where(mask if mask.ndim > 1 else mask.unsqueeze(1), torch.ones(4, 3, dtype=torch.long), -100)
    optimizer.backward(functional.cross_entropy(outputs, targets), outputs, mask)
    ((omega, gamma),) = optimizer.curvature.statistics
    kept = torch.tensor([True, False, True, True])
    rows = torch.cat([x[kept], torch.ones(3, 3, 1).double()], 2).flatten(0, 1)
    assert_close(omega, rows.T @ rows / 3, **TIGHT)
    roots = vectors_of_outputs(outputs.detach(), mask)
    assert_close(gamma, torch.einsum("vncl,vnkl->ck", roots, roots) / 9, **TIGHT)


def vectors_of_outputs(outputs, mask):
    """Return the scaled vectors of a masked softmax: 9 positions of 3 examples, or 6 of them, have a target."""
    spread = (mask if mask.ndim > 1 else mask.unsqueeze(1).expand(4, 3)).unsqueeze(1)
    return type2_vectors(outputs, "categorical") * spread * (3 / int(spread.sum())) ** 0.5


@pytest.mark.parametrize("mask", [OF_EXAMPLES, OF_POSITIONS], ids=["examples", "positions"])
def test_a_mask_that_leaves_nothing_observes_nothing(mask):
    model = Positions()
    optimizer = NaturalGradient(model, 0.1, fisher="type2")
    outputs = model(normal(4, 3, 3))
    optimizer.backward(outputs.sum(), outputs, torch.zeros_like(mask))
    assert optimizer.curvature.observations == 0


def test_sampled_labels_follow_the_softmax():
    outputs, samples = logits(2, 5), 4000
    labels = draw(outputs, samples).argmin(2)
    for probabilities, drawn in zip(outputs.softmax(1), labels.T, strict=True):
        counts = drawn.bincount(minlength=5)
        assert chisquare(counts.numpy(), (probabilities * samples).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("samples", [1, 3])
def test_sampled_vectors_are_gradients_of_the_sampled_losses(samples):
    outputs = logits(6, 4)
    vectors = draw(outputs, samples)
    labels = vectors.argmin(2)
    expected = outputs.softmax(1) - functional.one_hot(labels, 4)
    assert_close(vectors * samples**0.5, expected)


@every_likelihood
def test_a_seed_gives_the_same_draws_in_every_precision(likelihood):
    wide = logits(200, 10)
    exact, narrow = draw(wide, likelihood=likelihood), draw(wide.float(), likelihood=likelihood)
    assert narrow.dtype == torch.float32
    assert_close(narrow.double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("outputs", [torch.tensor([[0.0, 200.0, 0.0]]), torch.tensor([[-1e4, -1e4, 3.0]])], ids=str)
def test_a_certain_label_is_always_drawn(outputs):
    assert (draw(outputs, 100).abs() < 1e-6).all()


def test_gaussian_noise_has_unit_variance_over_all_samples():
    vectors = draw(torch.zeros(50, 4, dtype=torch.float64), 400, likelihood="gaussian")
    assert vectors.square().sum(0).mean() == pytest.approx(1, abs=0.02)


def test_labels_of_positions_follow_their_own_softmax():
    outputs, samples = normal(2, 4, 3), 4000
    labels = draw(outputs, samples).argmin(2)
    for probabilities, drawn in zip(outputs.softmax(1).movedim(1, 2).flatten(0, 1), labels.flatten(1).T, strict=True):
        assert chisquare(drawn.bincount(minlength=4).numpy(), (probabilities * samples).numpy()).pvalue > 1e-3


def test_bernoulli_labels_are_drawn_at_their_probability():
    outputs, samples = normal(3, 4), 4000
    drawn = (draw(outputs, samples, likelihood="bernoulli") < 0).sum(0).flatten()
    wanted = outputs.sigmoid().flatten() * samples
    for ones, expected in zip(drawn.tolist(), wanted.tolist(), strict=True):
        assert chisquare([ones, samples - ones], [expected, samples - expected]).pvalue > 1e-3
