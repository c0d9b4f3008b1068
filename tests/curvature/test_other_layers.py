"""Layers that are neither convolution, linear nor normalisation have the diagonal Fisher; what cannot is named."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from kfc_bench.curvature.layers import UnsupportedLayerError, find_layers
from kfc_bench.optim import NaturalGradient
from tests.curvature.autodiff import TIGHT, blocks, fisher, normal, see, seeded, statistics
from tests.curvature.nets import DAMPING


class Positions(nn.Module):
    """A container with a parameter of its own, which its children come after."""

    def __init__(self, *, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(4, 3))
        self.norm = nn.BatchNorm1d(4) if norm else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc(self.norm(x + self.positions)).tanh()).mean(1)


class Pairs(nn.Module):
    """A layer of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Bilinear(3, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(x[:, 0], x[:, 1])


class Scaled(nn.Module):
    """A layer with arguments of all kinds: some of them belong to examples."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(input=self.scale(x.mean(1), torch.ones(3).double(), power=2, shift=x[:, 0], nothing=None))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.empty(3))

    def forward(self, x: Tensor, unit: Tensor, *, power: int, shift: Tensor, nothing: None) -> Tensor:
        assert nothing is None
        return (x * self.by**power * unit + shift * self.by).tanh()


def words(**options) -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 3, **options), nn.Flatten(), nn.Linear(12, 3))


@dataclass(frozen=True)
class Case:
    """A network, the names of its layers of other forms, and one example's shape (None for words)."""

    id: str
    model: Callable[[], nn.Module]
    named: dict[str, str]
    shape: tuple[int, ...] | None

    def build(self) -> nn.Module:
        return seeded(self.model)

    def batch(self) -> Tensor:
        if self.shape is None:
            return torch.tensor([[0, 1, 1, 2], [4, 4, 4, 4], [2, 0, 3, 1]])
        return normal(3, *self.shape)


CASES = [
    Case(
        "transposed",
        lambda: nn.Sequential(nn.ConvTranspose2d(1, 2, 2, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)),
        {"0": "ConvTranspose2d"},
        (1, 2, 2),
    ),
    Case("embedding", words, {"0": "Embedding"}, None),
    Case("embedding-padding", lambda: words(padding_idx=1), {"0": "Embedding"}, None),
    Case("embedding-bag", lambda: nn.Sequential(nn.EmbeddingBag(5, 3), nn.Linear(3, 3)), {"0": "EmbeddingBag"}, None),
    Case(
        "prelu",
        lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 3), nn.PReLU()),
        {"1": "PReLU", "3": "PReLU"},
        (3,),
    ),
    Case("rms-norm", lambda: nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 3)), {"1": "RMSNorm"}, (3,)),
    Case(
        "instance-norm",
        lambda: nn.Sequential(nn.InstanceNorm1d(2, affine=True), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)),
        {"0": "InstanceNorm1d"},
        (2, 4),
    ),
    Case("bilinear", Pairs, {"pair": "Bilinear"}, (2, 3)),
    Case("arguments", Scaled, {"scale": "Scale"}, (2, 3)),
    Case("container", Positions, {"": "Positions"}, (4, 3)),
    Case("container-inside", lambda: nn.Sequential(Positions(), nn.Linear(3, 2)), {"0": "Positions"}, (4, 3)),
    Case("twice", lambda: nn.Sequential(nn.Linear(3, 3), *[nn.PReLU(3)] * 2, nn.Linear(3, 3)), {"1": "PReLU"}, (3,)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def quiet(case, approximation="kfc", **options):
    """Observe a batch where warnings are what another test is about."""
    model = case.build()
    with pytest.warns(UserWarning, match="no structured Fisher block"):
        return model, see(model, case.batch(), approximation, **options)


@every_case
def test_the_diagonal_fisher(case):
    model, optimizer = quiet(case)
    found, wanted = statistics(optimizer, model), blocks(model, case.batch())
    for name in case.named:
        assert_close(found[name], [wanted[name].diagonal()], **TIGHT)


@every_case
def test_the_whole_diagonal_and_the_exact_fisher_need_no_warning(case, recwarn):
    model = case.build()
    whole, _ = fisher(model, case.batch())
    diagonal = see(model, case.batch(), "diagonal").curvature.statistics
    assert_close(torch.cat([tensor.flatten() for (tensor,) in diagonal]), whole.diagonal(), **TIGHT)
    assert_close(see(model, case.batch(), "exact").curvature.statistics, [[whole]], **TIGHT)
    NaturalGradient(model, 0.1, approximation="identity")
    assert not recwarn


@every_case
def test_one_warning_names_them_all(case):
    with pytest.warns(UserWarning, match="no structured Fisher block") as caught:
        NaturalGradient(case.build(), 0.1)
    (warning,) = caught
    listed = ", ".join(f"{name!r} ({kind})" for name, kind in case.named.items())
    assert str(warning.message) == f"no structured Fisher block: the diagonal one is used for {listed}"
    assert warning.filename == __file__


def test_only_layers_that_are_not_diagonal_as_asked_are_named():
    with pytest.warns(UserWarning, match=r"is used for '3' \(PReLU\)$"):
        NaturalGradient(CASES[4].build(), 0.1, per_layer={"1": "diagonal"})


def test_no_warning_where_each_has_what_was_asked(recwarn):
    NaturalGradient(CASES[4].build(), 0.1, per_layer={"1": "diagonal", "3": "identity"})
    assert not recwarn


@every_case
def test_a_step_divides_by_the_damped_diagonal(case):
    model, optimizer = quiet(case, momentum=0.0)
    wanted = blocks(model, case.batch())
    layers = [layer for layer in find_layers(model) if layer.name in case.named]
    before = [layer.joint([parameter.detach().clone() for parameter in layer.parameters]) for layer in layers]
    gradients = [layer.gradient().clone() for layer in layers]
    optimizer.step()
    for layer, old, gradient in zip(layers, before, gradients, strict=True):
        moved = old - layer.joint([parameter.detach() for parameter in layer.parameters])
        assert_close(moved, 0.1 * gradient / (wanted[layer.name].diagonal() + DAMPING), **TIGHT)


@every_case
def test_training_goes_on(case):
    model, optimizer = quiet(case, statistics_every=1, inverses_every=1)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        outputs = model(case.batch())
        losses.append(functional.cross_entropy(outputs, torch.tensor([0, 1, 1])))
        optimizer.backward(losses[-1], outputs)
        optimizer.step()
    assert optimizer.skipped == 0
    assert losses[-1] < losses[0]


def test_examples_that_do_not_count_are_left_out():
    case = CASES[1]
    model, x = case.build(), case.batch()
    mask = torch.tensor([True, False, True])
    with pytest.warns(UserWarning, match="Embedding"):
        optimizer = NaturalGradient(model, 0.1, fisher="type2")
    outputs = model(x)
    optimizer.backward(functional.cross_entropy(outputs, torch.tensor([0, -100, 1])), outputs, mask)
    assert_close(statistics(optimizer, model)["0"], [blocks(model, x[mask])["0"].diagonal()], **TIGHT)


def test_a_container_leaves_its_children_what_they_saw():
    case = next(case for case in CASES if case.id == "container")
    model, optimizer = quiet(case, "block_diagonal")
    assert_close(statistics(optimizer, model)["fc"], [blocks(model, case.batch())["fc"]], **TIGHT)


def test_running_a_container_once_more_leaves_no_trace():
    case = next(case for case in CASES if case.id == "container-inside")
    model, optimizer = quiet(case)
    outputs = model(case.batch())
    optimizer.backward(outputs.logsumexp(1).mean(), outputs)
    with pytest.raises(RuntimeError, match="did not run in the last forward pass"):
        optimizer.backward(outputs.logsumexp(1).mean(), outputs)


def test_a_linear_layer_of_frozen_weights_keeps_its_bias():
    case = Case("bias", lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), {"0": "Linear"}, (3,))
    model = case.build()
    model[0].weight.requires_grad_(False)
    with pytest.warns(UserWarning, match=r"'0' \(Linear\)"):
        optimizer = see(model, case.batch(), "kfc")
    assert_close(statistics(optimizer, model)["0"], [blocks(model, case.batch())["0"].diagonal()], **TIGHT)


def test_a_container_with_dropout_runs_with_draws_of_its_own():
    case = Case("dropout", lambda: Positions(dropout=0.5), {"": "Positions"}, (4, 3))
    model, optimizer = quiet(case)
    assert statistics(optimizer, model)[""][0].isfinite().all()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(3, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x)[0][:, -1]


class Table(nn.Module):
    """A layer of no input."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.empty(4, 3))

    def forward(self) -> Tensor:
        return self.values


class Looked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x + self.table()).mean(1)


class Flattened(nn.Module):
    """A layer that sees each position as an example."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(3, 1, 4, batch_first=True)


def projection_alone() -> nn.Module:
    model = attention()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("self_attn.in_proj" not in name)
    return model


REFUSED = {
    "attention": (
        attention,
        normal(3, 4, 3),
        r"layer 'self_attn' \(MultiheadAttention\) does not call its projections",
    ),
    "attention-projection": (projection_alone, normal(3, 4, 3), r"layer 'self_attn' \(MultiheadAttention\)"),
    "lstm": (Recurrent, normal(3, 4, 3), r"layer 'cells' \(LSTM\) returns a tuple, not one tensor"),
    "no-input": (Looked, normal(3, 4, 3), r"layer 'table' \(Table\) returns \[4, 3\] for 3 examples"),
    "no-input-by-chance": (Looked, normal(4, 4, 3), r"layer 'table' \(Table\) does not run example by example"),
    "flattened": (Flattened, normal(3, 4, 3), r"layer 'fc' \(Linear\) returns \[12, 2\] for 3 examples"),
    "max-norm": (lambda: words(max_norm=1.0), CASES[1].batch(), r"layer '0' \(Embedding\) does not run example"),
    "sparse": (lambda: words(sparse=True), CASES[1].batch(), r"layer '0' \(Embedding\) does not run example"),
    "batch-norm-inside": (
        lambda: Positions(norm=True),
        normal(3, 4, 3),
        r"layer '' \(Positions\) does not run example",
    ),
    "running-statistics": (
        lambda: nn.Sequential(
            nn.InstanceNorm1d(4, affine=True, track_running_stats=True), nn.Flatten(), nn.Linear(12, 2)
        ),
        normal(3, 4, 3),
        r"layer '0' \(InstanceNorm1d\) does not run example by example",
    ),
    "parametrised": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2))),
        normal(3, 3),
        r"layer '0\.parametrizations\.weight' \(ParametrizationList\) returns \[2, 3\] for 3 examples",
    ),
}


@pytest.mark.filterwarnings("ignore:no structured Fisher block:UserWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_named(case):
    build, x, message = REFUSED[case]
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        see(seeded(build), x, "kfc")
    assert len(str(caught.value)) < 400


def test_a_frozen_attention_is_no_layer():
    model = attention()
    model.self_attn.requires_grad_(False)
    assert [layer.name for layer in find_layers(model)] == ["linear1", "linear2", "norm1", "norm2"]


@pytest.mark.parametrize("build", [attention, Recurrent, Looked, Flattened])
def test_the_identity_follows_any_layer(build):
    model, x = seeded(build), normal(3, 4, 3)
    optimizer = NaturalGradient(model, 0.1, approximation="identity")
    outputs = model(x)
    optimizer.backward(outputs.square().mean(), outputs)
    optimizer.step()
    assert optimizer.skipped == 0
