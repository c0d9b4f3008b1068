"""Other libraries' Kronecker factors and solves of a whole network, through what they document for users."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kfc_bench.contestants.contestant import keep_progress_in_process
from tests.agreement.problems import CLASSES

THEIR_WARNINGS = (
    # curvlinops compiles a function as it is imported.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    # BackPACK's hooks see images that need no gradient; the factors are of later layers' outputs.
    pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning"),
)

PIP = {"backpack": "backpack-for-pytorch", "curvlinops": "curvlinops-for-pytorch", "nngeometry": "nngeometry"}


def need(module):
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install {PIP[module]}")


def torch_loss(problem):
    return nn.MSELoss() if problem.case.square else nn.CrossEntropyLoss()


class Curvlinops:
    """Factors are a mean over positions (A) and a sum (G); weight and bias joint, as ours, or apart."""

    def __init__(self, problem, *, joint=True, batches=1):
        library = need("curvlinops")
        keep_progress_in_process()
        self.problem, self.model = problem, problem.copy()
        size = len(problem.images) // batches
        self.operator = library.KFACLinearOperator(
            self.model,
            torch_loss(problem),
            list(self.model.parameters()),
            list(zip(problem.images.split(size), problem.targets.split(size), strict=True)),
            fisher_type=library.FisherType.TYPE2,
            separate_weight_and_bias=not joint,
            check_deterministic=False,
        )

    def factors(self):
        self.operator.compute_kronecker_factors()
        inputs, outputs = self.operator._input_covariances, self.operator._gradient_covariances
        return {name: (inputs[name], outputs[name]) for name in self.problem.layers()}

    @staticmethod
    def scales(problem, positions):
        return 1 / positions, problem.case.mse * positions

    def natural(self, damping, **rule):
        """Solve for the gradient of torch's loss, whose mean over outputs scales the curvature: the damping with it."""
        from curvlinops import KFACInverseLinearOperator

        inverse = KFACInverseLinearOperator(self.operator, damping=self.problem.case.mse * damping, **rule)
        loss = torch_loss(self.problem)(self.model(self.problem.images), self.problem.targets)
        parameters = dict(self.model.named_parameters())
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        return dict(zip(parameters, inverse @ list(gradients), strict=True))


class NNGeometry:
    """Factors are ours times and over the root of the number of backpropagated columns; weight and bias joint."""

    def __init__(self, problem, *, batches=1):
        need("nngeometry")
        from nngeometry.metrics import FIM
        from nngeometry.object import PMatKFAC

        self.problem, self.model = problem, problem.copy()
        loader = DataLoader(TensorDataset(problem.images, problem.targets), len(problem.images) // batches)
        variant = "regression" if problem.case.square else "classif_logits"
        self.fisher = FIM(self.model, loader, PMatKFAC, variant=variant)

    def factors(self):
        return self.fisher.data

    @staticmethod
    def scales(problem, positions):  # noqa: ARG004
        root = math.sqrt(CLASSES if problem.case.square else CLASSES - 1)
        return root, 1 / root

    def natural(self, damping):
        """Solve with the factored damping, pi from the mean diagonals: scales of the two factors cancel."""
        from nngeometry.object import PVector

        self.problem.loss(self.model(self.problem.images), self.problem.targets).backward()
        solved = self.fisher.solvePVec(PVector.from_model_grad(self.model), regul=damping).to_dict()
        return {
            f"{layer}.{kind}": value
            for layer, values in solved.items()
            for kind, value in zip(("weight", "bias"), values, strict=False)
        }


class BackPACK:
    """Gradients are summed over positions before G's product, A is ours; weight and bias always apart."""

    def __init__(self, problem):
        library = need("backpack")
        from backpack.extensions import KFLR

        self.problem, self.model = problem, library.extend(problem.copy())
        loss = library.extend(torch_loss(problem))
        with library.backpack(KFLR()):
            loss(self.model(problem.images), problem.targets).backward()

    def factors(self):
        """Return A and G: its lists have G first."""
        return {name: self.model.get_submodule(name).weight.kflr[::-1] for name in self.problem.layers()}

    def natural(self, damping):
        """Solve with BackPACK's own inverses; shifts, left to its users, are split by pi, and a bias has G alone."""
        from backpack.utils.kroneckers import apply_inv_kfac_mat_prod

        damping *= self.problem.case.mse
        natural = {}
        for name, parameter in self.model.named_parameters():
            shifts = [damping]
            if len(parameter.kflr) == 2:
                pi = math.sqrt(mean_diagonal(parameter.kflr[1]) / mean_diagonal(parameter.kflr[0]))
                shifts = [math.sqrt(damping) / pi, math.sqrt(damping) * pi]
            solved = apply_inv_kfac_mat_prod(parameter.kflr, parameter.grad.reshape(-1, 1), shifts)
            natural[name] = solved.view_as(parameter)
        return natural


def mean_diagonal(factor):
    return factor.diagonal().mean().item()
