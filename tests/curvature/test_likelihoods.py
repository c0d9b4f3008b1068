import pytest
import torch
from scipy.stats import chisquare
from torch.func import hessian
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.curvature.likelihoods import sampled_vectors, type2_vectors


def logits(examples, classes, dtype=torch.float64):
    return torch.randn(examples, classes, dtype=dtype, generator=torch.Generator().manual_seed(0))


def draw(outputs, samples=1, seed=0, likelihood="categorical"):
    return sampled_vectors(outputs, likelihood, samples=samples, generator=torch.Generator().manual_seed(seed))


LOSSES = {
    "categorical": lambda outputs: functional.cross_entropy(outputs, torch.tensor(1)),
    "gaussian": lambda outputs: (outputs - 0.5).square().sum() / 2,
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("likelihood", LOSSES)
def test_type2_vectors_are_a_square_root_of_the_loss_hessian(likelihood):
    outputs = logits(4, 3)
    roots = type2_vectors(outputs, likelihood).movedim(0, 2)
    wanted = torch.stack([hessian(LOSSES[likelihood])(output) for output in outputs])
    assert_close(roots @ roots.mT, wanted, rtol=1e-12, atol=1e-12)


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


@pytest.mark.parametrize("likelihood", LOSSES)
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
