"""What the page says that a library computes instead, held to the library."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.reference import gradients, patches, reference
from tests.audit.cases import PEERS, need, network


def found(library, option):
    need(LIBRARIES[library])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LIBRARIES[library].blocks(*network(option))


def gamma(option, library):
    """Return the output factor that a library states, all groups' outputs together."""
    model, loss, x, labels = network(option)
    states = LIBRARIES[library].states
    g = gradients(model, loss, x, labels, states.get("fisher", "type2"))
    if states.get("outputs") == "reduce":
        g = g.sum(3, keepdim=True)
    return torch.einsum("vnkt,vnlt->kl", g, g) / (len(x) * g.shape[3])


def omega(columns, library):
    """Return the input factor of columns ``[N, T, D]`` that a library states."""
    mean = LIBRARIES[library].states.get("inputs") == "mean"
    return torch.einsum("ntd,nte->de", columns, columns) / (len(columns) * (columns.shape[1] if mean else 1))


@pytest.mark.parametrize("library", PEERS)
def test_another_padding_is_taken_for_zeros(library):
    option = OPTIONS["circular"]
    _, _, x, _ = network(OPTIONS["plain"])
    layer = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    factor = gamma(option, library)
    assert_close(found(library, option)["weight"], torch.kron(factor, omega(patches(layer, x)[:, 0], library)))


@pytest.mark.parametrize("library", ["nngeometry", "asdl"])
def test_groups_share_one_factor_of_all_channels(library):
    option = OPTIONS["groups"]
    _, _, x, _ = network(option)
    layer = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    columns = patches(layer, x)[:, 0]
    assert_close(found(library, option)["weight"], torch.kron(gamma(option, library), omega(columns, library)))


@pytest.mark.parametrize("library", ["curvlinops", "kronfluence"])
def test_groups_share_one_factor_of_their_mean_input(library):
    option = OPTIONS["groups"]
    _, _, x, _ = network(option)
    layer = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    mean = x.unflatten(1, (2, 2)).mean(1)
    factor = gamma(option, library)
    assert_close(found(library, option)["weight"], torch.kron(factor, omega(patches(layer, mean)[:, 0], library)))


def test_a_solve_with_nngeometrys_block_of_groups_raises():
    need(LIBRARIES["nngeometry"])
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatKFAC, PVector
    from torch.utils.data import DataLoader, TensorDataset

    model, loss, x, labels = network(OPTIONS["groups"])
    fisher = FIM(model, DataLoader(TensorDataset(x, labels), batch_size=len(x)), PMatKFAC)
    loss(model(x), labels).backward()
    with pytest.raises(RuntimeError, match="size"):
        fisher.solvePVec(PVector.from_model_grad(model), regul=1e-2)


def test_preconditioning_with_asdls_block_of_groups_raises():
    need(LIBRARIES["asdl"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from asdl.precondition import KfacGradientMaker, PreconditioningConfig

        model, loss, x, labels = network(OPTIONS["groups"])
        maker = KfacGradientMaker(model, PreconditioningConfig(data_size=len(x), damping=0.01))
        maker.setup_loss_call(loss, maker.setup_model_call(model, x), labels)
        with pytest.raises(RuntimeError, match="shapes"):
            maker.forward_and_backward()


def test_kronfluences_block_has_the_eigenvalues_that_its_k_fac_preconditions_with(monkeypatch):
    need(LIBRARIES["kronfluence"])
    from kronfluence.analyzer import Analyzer
    from kronfluence.arguments import FactorArguments
    from kronfluence.factor.eigen import perform_eigendecomposition

    eigen, load = {}, Analyzer.load_covariance_matrices

    def loading(analyzer, name):
        arguments = FactorArguments(eigendecomposition_dtype=torch.float64)
        eigen.update(perform_eigendecomposition(load(analyzer, name), analyzer.model, analyzer.state, arguments, True))
        return load(analyzer, name)

    monkeypatch.setattr(Analyzer, "load_covariance_matrices", loading)
    block = found("kronfluence", OPTIONS["plain"])["weight"]
    products = torch.kron(eigen["gradient_eigenvalues"]["0"], eigen["activation_eigenvalues"]["0"])
    assert_close(torch.linalg.eigvalsh(block), products.sort().values)


def test_asdls_data_size_makes_no_sum_over_examples(monkeypatch):
    need(LIBRARIES["asdl"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import asdl

    option = OPTIONS["sum"]
    config = asdl.FisherConfig
    monkeypatch.setattr(asdl, "FisherConfig", lambda *arguments, **_: config(*arguments, data_size=1))
    block = found("asdl", option)["weight"]
    assert_close(block, 5 * reference(*network(option))["weight"])


def test_asdls_tokens_are_examples_over_n():
    for name, tokens in (("tokens", 7), ("grid", 6)):
        option = OPTIONS[name]
        assert_close(found("asdl", option)["weight"], tokens * reference(*network(option))["weight"])
