"""What must hold between operators."""

import pytest
import torch
from torch.testing import assert_close

from kfc_kernels import (
    block_fisher,
    damped_inverse,
    diagonal_fisher,
    eigenvalue_correction,
    exact_fisher,
    input_factor,
    mini_block_fisher,
    output_factor,
    precondition,
    precondition_dense,
    reduced_input_factor,
    reduced_output_factor,
)
from tests.kernels.geometry_cases import CASES, every_case, named, parametrize

REFERENCE = {"implementation": "reference"}


@every_case
def test_diagonal_is_the_blocks(case):
    layer = case.build()
    block = block_fisher(layer.a, layer.g, layer.geometry, **REFERENCE)
    diagonal = diagonal_fisher(layer.a, layer.g, layer.geometry, **REFERENCE)
    assert_close(diagonal, block.diagonal(dim1=-2, dim2=-1).reshape(diagonal.shape))


@parametrize([case for case in CASES if case.groups == 1])
def test_mini_blocks_lie_in_the_block(case):
    layer = case.build()
    geometry = layer.geometry
    block = block_fisher(layer.a, layer.g, geometry, **REFERENCE)
    mini = mini_block_fisher(layer.a, layer.g, geometry, **REFERENCE)
    by_output = block.reshape(geometry.out_channels, geometry.patch_dim, geometry.out_channels, geometry.patch_dim)
    own = torch.stack([by_output[k, :, k] for k in range(geometry.out_channels)])
    if geometry.kernel_elements == 1:
        assert_close(mini, own.mean(0))
    else:
        size = geometry.kernel_elements
        for channel in range(geometry.in_channels):
            kernel = slice(channel * size, (channel + 1) * size)
            assert_close(mini[:, channel], own[:, kernel, kernel])


@parametrize(named("linear", "linear-no-bias", "single-position"))
def test_one_example_at_one_position_is_a_kronecker_product(case):
    layer = case.build()
    a, g = layer.a[:1], layer.g[:, :1]
    omega = input_factor(a, layer.geometry, **REFERENCE)
    gamma = output_factor(g, layer.geometry, **REFERENCE)
    assert_close(block_fisher(a, g, layer.geometry, **REFERENCE), torch.kron(gamma, omega))


@parametrize(named("linear", "single-position", "3x3"))
def test_reduced_factors_equal_the_expanded_ones_at_one_position(case):
    layer = case.build()
    expanded = input_factor(layer.a, layer.geometry, **REFERENCE), output_factor(layer.g, layer.geometry, **REFERENCE)
    reduced = reduced_input_factor(layer.a, layer.geometry), reduced_output_factor(layer.g, layer.geometry)
    for one, other in zip(expanded, reduced, strict=True):
        assert torch.allclose(one, other) == (layer.geometry.positions == 1)


@every_case
def test_correction_keeps_the_trace(case):
    layer = case.build()
    geometry = layer.geometry
    factors = output_factor(layer.g, geometry, **REFERENCE), input_factor(layer.a, geometry, **REFERENCE)
    bases = [torch.linalg.eigh(factor).eigenvectors for factor in factors]
    correction = eigenvalue_correction(layer.a, layer.g, geometry, *bases, **REFERENCE)
    block = block_fisher(layer.a, layer.g, geometry, **REFERENCE)
    assert_close(correction.sum(), block.diagonal(dim1=-2, dim2=-1).sum())


@every_case
def test_block_is_the_exact_fisher_of_a_network_of_one_layer(case):
    layer = case.build()
    block = block_fisher(layer.a, layer.g, layer.geometry, **REFERENCE)
    for group, gradients in enumerate(layer.example_gradients.flatten(3)):
        whole = exact_fisher(gradients, **REFERENCE)
        assert_close(block[group] if layer.geometry.groups > 1 else block, whole)


@parametrize(named("linear", "3x3", "groups", "depthwise"))
def test_preconditioning_by_factors_is_preconditioning_by_their_block(case):
    layer = case.build()
    geometry = layer.geometry
    factors = output_factor(layer.g, geometry, **REFERENCE), input_factor(layer.a, geometry, **REFERENCE)
    gamma, omega = damped_inverse(factors, [0.1, 0.3], **REFERENCE).inverses
    gradient = layer.example_gradients.sum((1, 2)).reshape(geometry.grouped(geometry.group_outputs, -1))
    pairs = zip(gamma.reshape(-1, *gamma.shape[-2:]), omega.reshape(-1, *omega.shape[-2:]), strict=True)
    blocks = torch.stack([torch.kron(*pair) for pair in pairs])
    (dense,) = precondition_dense([gradient], [blocks.reshape(geometry.grouped(*blocks.shape[1:]))], **REFERENCE)
    (factored,) = precondition([gradient], [gamma], [omega], **REFERENCE)
    assert_close(factored, dense)


@pytest.mark.parametrize("name", ["3x3-padding", "groups", "linear-shared", "11x11-stride4"])
def test_factors_are_positive_semidefinite(name):
    (case,) = named(name)
    layer = case.build()
    for factor in (
        input_factor(layer.a, layer.geometry, **REFERENCE),
        output_factor(layer.g, layer.geometry, **REFERENCE),
    ):
        values = torch.linalg.eigvalsh(factor)
        assert values.min() >= -1e-12 * values.max()
