"""The scales that docs/conventions.md states for each library's factors, both of them, read off its public API."""

from __future__ import annotations

import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from kfc_bench.contestants import contestants
from kfc_bench.contestants.network import classifier
from kfc_bench.curvature.capture import Capture
from kfc_bench.curvature.layers import find_layers
from kfc_bench.curvature.likelihoods import type2_vectors
from kfc_kernels import ConvGeometry, input_factor, output_factor, reduced_output_factor
from tests.contestants.cases import need

GEOMETRY = ConvGeometry.conv(3, 4, (7, 6), 3, padding=1, stride=2)
N, T, K = 5, GEOMETRY.positions, GEOMETRY.out_channels


@pytest.fixture
def double():
    """Run in float64, by default: BackPACK's pooling follows torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def layer(double):  # noqa: ARG001
    """An input, a network and labels."""
    a = torch.randn(N, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    return a, *classifier(GEOMETRY, a)


def backpropagated(layer, vectors_of):
    """Return our vectors at the convolution's output, of each example's own loss."""
    a, network, labels = layer
    capture = Capture(network, find_layers(network))
    logits = network(a)
    (batch,) = capture.backpropagate(logits, vectors_of(logits.detach(), labels))
    capture.remove()
    return batch.output_gradients


def empirical(logits, labels):
    return (logits.softmax(1) - functional.one_hot(labels, K)).unsqueeze(0)


def type2(logits, _):
    return type2_vectors(logits, "categorical")


def curvlinops(layer):
    from curvlinops import FisherType, KFACLinearOperator

    a, network, labels = layer
    operator = KFACLinearOperator(
        network,
        nn.CrossEntropyLoss(),
        list(network.parameters()),
        [(a, labels)],
        fisher_type=FisherType.EMPIRICAL,
        check_deterministic=False,
    )
    operator.compute_kronecker_factors()
    return operator._input_covariances["0"], operator._gradient_covariances["0"]


def backpack(layer):
    from backpack import backpack, extend
    from backpack.extensions import KFLR

    a, network, labels = layer
    model, loss = extend(network), extend(nn.CrossEntropyLoss())
    with backpack(KFLR()):
        loss(model(a), labels).backward()
    gamma, omega = network[0].weight.kflr
    return omega, gamma


def nngeometry(layer):
    from nngeometry.backend import TorchHooksJacobianBackend
    from nngeometry.object import PMatKFAC
    from torch.utils.data import DataLoader, TensorDataset

    a, network, labels = layer

    def losses(images, targets):
        return functional.cross_entropy(network(images), targets, reduction="none").unsqueeze(1)

    loader = DataLoader(TensorDataset(a, labels), batch_size=N)
    ((omega, gamma),) = PMatKFAC(TorchHooksJacobianBackend(network, losses), examples=loader).data.values()
    return omega, gamma


def nngeometry_exact(layer):
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatKFAC
    from torch.utils.data import DataLoader, TensorDataset

    a, network, labels = layer
    loader = DataLoader(TensorDataset(a, labels), batch_size=N)
    ((omega, gamma),) = FIM(network, loader, PMatKFAC).data.values()
    return omega, gamma


def asdl(layer):
    import asdl

    a, network, labels = layer
    config = asdl.FisherConfig(asdl.FISHER_EMP, [asdl.SHAPE_KRON], asdl.LOSS_CROSS_ENTROPY, data_size=N)
    maker = asdl.get_fisher_maker(network, config)
    logits = maker.setup_model_call(network, a)
    maker.setup_loss_call(functional.cross_entropy, logits, labels, reduction="sum")
    maker.forward_and_backward()
    return network[0].fisher.kron.A, network[0].fisher.kron.B


def kronfluence(layer):
    from kronfluence.analyzer import prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.factor.covariance import fit_covariance_matrices_with_loader
    from kronfluence.utils.state import State

    from kfc_bench.contestants.kronfluence import classification

    a, network, labels = layer
    task = classification()
    arguments = FactorArguments(
        use_empirical_fisher=True, activation_covariance_dtype=a.dtype, gradient_covariance_dtype=a.dtype
    )
    _, factors = fit_covariance_matrices_with_loader(
        prepare_model(network, task), State(cpu=True), task, [(a, labels)], arguments, disable_tqdm=True
    )
    ((omega,), (gamma,)) = (factors[f"{name}_covariance"].values() for name in ("activation", "gradient"))
    return omega, gamma


PUBLIC = {
    "curvlinops": curvlinops,
    "backpack": backpack,
    "nngeometry": nngeometry,
    "asdl": asdl,
    "kronfluence": kronfluence,
}
STATED = {
    "curvlinops": (curvlinops, empirical, 1 / T, T),
    "nngeometry": (nngeometry, empirical, 1, 1),
    "nngeometry exact": (nngeometry_exact, type2, math.sqrt(K - 1), 1 / math.sqrt(K - 1)),
    "asdl": (asdl, empirical, 1 / T, T),
    "kronfluence": (kronfluence, empirical, N, N * T),
}


@pytest.mark.parametrize("name", STATED)
def test_both_factors_have_the_stated_scale(name, layer):
    need(contestants()["input_factor", name.split()[0]])
    factors, vectors, input_scale, output_scale = STATED[name]
    gradients = backpropagated(layer, vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        omega, gamma = factors(layer)
    assert_close(omega, input_scale * input_factor(layer[0], GEOMETRY, implementation="reference"))
    assert_close(gamma, output_scale * output_factor(gradients, GEOMETRY, implementation="reference"))


def test_backpack_sums_gradients_over_positions_first(layer):
    need(contestants()["input_factor", "backpack"])
    gradients = backpropagated(layer, type2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        omega, gamma = backpack(layer)
    assert_close(omega, input_factor(layer[0], GEOMETRY, implementation="reference"))
    assert_close(gamma, T**2 * reduced_output_factor(gradients, GEOMETRY, implementation="reference"))


def test_asdl_leaves_the_bias_out_of_its_kronecker_factor(layer):
    need(contestants()["input_factor", "asdl"])
    a, _, labels = layer
    geometry = ConvGeometry.conv(3, 4, (7, 6), 3, padding=1, stride=2, bias=True)
    network, _ = classifier(geometry, a)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        omega, _ = asdl((a, network, labels))
    assert omega.shape[0] == geometry.patch_dim - 1


EXACT, ZEROS = "exact", "zeros"
OPTIONS = {
    "stride": ({"stride": 2}, dict.fromkeys(PUBLIC, EXACT)),
    "dilation": ({"dilation": 2, "padding": 2}, {**dict.fromkeys(PUBLIC, EXACT), "asdl": ValueError}),
    "one-sided kernel": ({"kernel_size": (1, 3)}, dict.fromkeys(PUBLIC, EXACT)),
    "same": (
        {"padding": "same"},
        {
            "curvlinops": EXACT,
            "backpack": TypeError,
            "nngeometry": TypeError,
            "asdl": ValueError,
            "kronfluence": EXACT,
        },
    ),
    "same, uneven": (
        {"padding": "same", "kernel_size": 2},
        {
            "curvlinops": NotImplementedError,
            "backpack": TypeError,
            "nngeometry": TypeError,
            "asdl": ValueError,
            "kronfluence": Exception,
        },
    ),
    **{
        f"{mode} padding": ({"padding": 1, "padding_mode": mode}, dict.fromkeys(PUBLIC, ZEROS))
        for mode in ("circular", "reflect", "replicate")
    },
    "groups": (
        {"groups": 2},
        {
            "curvlinops": (18, 18),
            "backpack": NotImplementedError,
            "nngeometry": (36, 36),
            "asdl": (36, 36),
            "kronfluence": (18, 18),
        },
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.usefixtures("double")
def test_options_are_taken_as_stated(name, option):
    need(contestants()["input_factor", name])
    options, stated = OPTIONS[option]
    a = torch.randn(N, 4, 7, 6, generator=torch.Generator().manual_seed(0))
    conv = nn.Conv2d(4, 4, bias=False, **{"kernel_size": 3, **options})
    geometry = ConvGeometry.from_module(conv, a)
    network = nn.Sequential(conv, nn.AvgPool2d(geometry.out_size), nn.Flatten())

    def omega():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return PUBLIC[name]((a, network, torch.arange(N) % 4))[0]

    if isinstance(stated[name], type):
        with pytest.raises(stated[name]):
            omega()
    elif isinstance(stated[name], tuple):
        assert omega().shape == stated[name]
    else:
        taken = dataclasses.replace(geometry, padding_mode="zeros")
        scale = {"curvlinops": 1 / geometry.positions, "asdl": 1 / geometry.positions, "kronfluence": N}.get(name, 1)
        found = omega()
        assert_close(found, scale * input_factor(a, taken, implementation="reference"))
        if stated[name] == ZEROS:
            ours = scale * input_factor(a, geometry, implementation="reference")
            assert (found - ours).norm() > 0.1 * ours.norm()
