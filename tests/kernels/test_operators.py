"""Every reference operator against a float64 computation whose patches and gradients come from autograd."""

import dataclasses
from functools import partial

import pytest
import torch
from torch.testing import assert_close

import kfc_kernels
from tests.kernels.geometry_cases import CASES, every_case, named, parametrize

REPRESENTATIVE = named(
    "linear", "linear-shared", "1d-stride-dilation", "1x1", "3x3-padding", "groups", "depthwise", "circular", "3d"
)


def reference(name):
    return partial(getattr(kfc_kernels, name), implementation="reference")


def random_bases(geometry):
    generator = torch.Generator().manual_seed(1)
    sizes = geometry.group_outputs, geometry.patch_dim
    bases = [torch.randn(geometry.groups, n, n, dtype=torch.float64, generator=generator) for n in sizes]
    return [torch.linalg.qr(basis).Q.reshape(geometry.grouped(*basis.shape[1:])) for basis in bases]


def of_input(name):
    return lambda a, _, geometry, **options: reference(name)(a, geometry, **options)


def of_vectors(name):
    return lambda _, g, geometry, **options: reference(name)(g, geometry, **options)


def corrected(a, g, geometry, **options):
    bases = [basis.to(a.dtype) for basis in random_bases(geometry)]
    return reference("eigenvalue_correction")(a, g, geometry, *bases, **options)


def per_group(layer, compute):
    """Stack ``compute(group)`` over the groups; a single group gets no axis."""
    results = [compute(group) for group in range(layer.geometry.groups)]
    return torch.stack(results) if len(results) > 1 else results[0]


def outer_sum(vectors):
    return sum(torch.outer(vector, vector) for vector in vectors)


def flat_gradients(layer, group):
    """Per-example gradients of one group as vectors, over all backpropagated vectors and examples."""
    return layer.example_gradients[group].flatten(2).flatten(0, 1)


def expected_input_factor(layer):
    return per_group(layer, lambda group: outer_sum(layer.patches[group].flatten(0, 1)) / layer.batch)


def expected_output_factor(layer):
    count = layer.batch * layer.geometry.positions
    return per_group(layer, lambda group: outer_sum(layer.positions[group].flatten(0, 2)) / count)


def expected_reduced_input_factor(layer):
    return per_group(layer, lambda group: outer_sum(layer.patches[group].sum(1)) / layer.batch)


def expected_reduced_output_factor(layer):
    count = layer.batch * layer.geometry.positions**2
    return per_group(layer, lambda group: outer_sum(layer.positions[group].sum(2).flatten(0, 1)) / count)


def expected_diagonal(layer):
    return per_group(layer, lambda group: sum(sum(v.square() for v in layer.example_gradients[group])) / layer.batch)


def expected_block(layer):
    return per_group(layer, lambda group: outer_sum(flat_gradients(layer, group)) / layer.batch)


def expected_mini_blocks(layer):
    geometry = layer.geometry

    def kernel_block(group, output, channel):
        start = channel * geometry.kernel_elements
        kernels = layer.example_gradients[group, :, :, output, start : start + geometry.kernel_elements]
        return outer_sum(kernels.flatten(0, 1)) / layer.batch

    def blocks(group):
        if geometry.kernel_elements == 1:
            rows = layer.example_gradients[group].flatten(0, 2)
            return outer_sum(rows) / (layer.batch * geometry.group_outputs)
        channels = range(geometry.in_channels // geometry.groups)
        rows = [[kernel_block(group, k, c) for c in channels] for k in range(geometry.group_outputs)]
        return torch.stack([torch.stack(row) for row in rows])

    return per_group(layer, blocks)


def expected_correction(layer):
    output_basis, input_basis = (
        basis.reshape(layer.geometry.groups, *basis.shape[-2:]) for basis in random_bases(layer.geometry)
    )

    def moments(group):
        basis = torch.kron(output_basis[group].contiguous(), input_basis[group].contiguous())
        rotated = sum((basis.T @ gradient).square() for gradient in flat_gradients(layer, group))
        return rotated.reshape(layer.geometry.group_outputs, -1) / layer.batch

    return per_group(layer, moments)


LAYER_OPERATORS = {
    "input_factor": (of_input("input_factor"), expected_input_factor),
    "output_factor": (of_vectors("output_factor"), expected_output_factor),
    "reduced_input_factor": (of_input("reduced_input_factor"), expected_reduced_input_factor),
    "reduced_output_factor": (of_vectors("reduced_output_factor"), expected_reduced_output_factor),
    "diagonal_fisher": (reference("diagonal_fisher"), expected_diagonal),
    "block_fisher": (reference("block_fisher"), expected_block),
    "mini_block_fisher": (reference("mini_block_fisher"), expected_mini_blocks),
    "eigenvalue_correction": (corrected, expected_correction),
}
PAIRED = ["diagonal_fisher", "block_fisher", "mini_block_fisher", "eigenvalue_correction"]
OF_INPUT = [name for name in LAYER_OPERATORS if "output" not in name]
OF_VECTORS = [name for name in LAYER_OPERATORS if "input" not in name]

every_operator = pytest.mark.parametrize("name", LAYER_OPERATORS)


def run(name, a, g, geometry, **options):
    return LAYER_OPERATORS[name][0](a, g, geometry, **options)


def relative_error(result, exact):
    return (torch.linalg.vector_norm(result.double() - exact) / torch.linalg.vector_norm(exact)).item()


@every_operator
@every_case
def test_equals_the_independent_computation(case, name):
    layer = case.build()
    result = run(name, layer.a, layer.g, layer.geometry)
    assert_close(result, LAYER_OPERATORS[name][1](layer))


@every_operator
@parametrize([case for case in CASES if case.groups > 1])
def test_groups_are_layers_of_their_own(case, name):
    layer = case.build()
    geometry = layer.geometry
    alone = dataclasses.replace(
        geometry,
        in_channels=geometry.in_channels // geometry.groups,
        out_channels=geometry.group_outputs,
        groups=1,
    )
    inputs = layer.a.chunk(geometry.groups, dim=1)
    vectors = layer.g.chunk(geometry.groups, dim=2)
    if name == "eigenvalue_correction":
        bases = zip(*random_bases(geometry), strict=True)
        parts = [reference(name)(a, g, alone, *pair) for a, g, pair in zip(inputs, vectors, bases, strict=True)]
    else:
        parts = [run(name, a, g, alone) for a, g in zip(inputs, vectors, strict=True)]
    assert_close(run(name, layer.a, layer.g, geometry), torch.stack(parts))


@pytest.mark.parametrize("name", OF_VECTORS)
@parametrize(REPRESENTATIVE)
def test_vectors_sum(case, name):
    layer = case.build()
    summed = sum(run(name, layer.a, g, layer.geometry) for g in layer.g)
    assert_close(run(name, layer.a, layer.g, layer.geometry), summed)


@every_operator
@parametrize(REPRESENTATIVE)
def test_examples_average(case, name):
    layer = case.build()
    halves = [run(name, a, g, layer.geometry) for a, g in zip(layer.a.split(1), layer.g.split(1, dim=1), strict=True)]
    assert_close(run(name, layer.a, layer.g, layer.geometry), sum(halves) / layer.batch)


@every_operator
@parametrize(REPRESENTATIVE)
def test_float32_is_close_to_float64(case, name):
    layer = case.build()
    result = run(name, layer.a.float(), layer.g.float(), layer.geometry)
    assert result.dtype == torch.float32
    assert relative_error(result, LAYER_OPERATORS[name][1](layer)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@every_operator
@parametrize(named("linear-shared", "3x3-padding", "groups"))
def test_16_bit_inputs_accumulate_in_float32(case, name, dtype):
    layer = case.build()
    a, g = layer.a.to(dtype), layer.g.to(dtype)
    if name == "eigenvalue_correction":
        bases = random_bases(layer.geometry)
        result = reference(name)(a, g, layer.geometry, *(basis.float() for basis in bases))
        exact = reference(name)(a.double(), g.double(), layer.geometry, *bases)
    else:
        result = run(name, a, g, layer.geometry)
        exact = run(name, a.double(), g.double(), layer.geometry)
    assert result.dtype == torch.float32
    assert relative_error(result, exact) < 1e-6


@every_operator
@parametrize(named("3x3-padding", "groups", "linear"))
def test_operands_are_left_alone(case, name):
    layer = case.build()
    a, g = layer.a.clone(), layer.g.clone()
    run(name, a, g, layer.geometry)
    assert torch.equal(a, layer.a)
    assert torch.equal(g, layer.g)


def accumulators():
    """Give the operators that take ``out``, each as a function of its options alone."""
    layer = named("groups")[0].build()
    gradients = layer.example_gradients[0].flatten(2)
    calls = {name: partial(run, name, layer.a, layer.g, layer.geometry) for name in LAYER_OPERATORS}
    return calls | {"exact_fisher": partial(reference("exact_fisher"), gradients)}


every_accumulator = pytest.mark.parametrize("name", [*LAYER_OPERATORS, "exact_fisher"])


@every_accumulator
def test_out_is_overwritten(name):
    call = accumulators()[name]
    fresh = call()
    out = torch.full_like(fresh, torch.nan)
    assert call(out=out) is out
    assert_close(out, fresh)


@every_accumulator
@pytest.mark.parametrize("decay", [0.0, 0.75, 1.0])
def test_out_decays(name, decay):
    call = accumulators()[name]
    fresh = call()
    out = torch.arange(fresh.numel(), dtype=fresh.dtype).reshape(fresh.shape)
    average = decay * out + (1 - decay) * fresh
    assert call(out=out, decay=decay) is out
    assert_close(out, average)


@every_accumulator
def test_decay_needs_out(name):
    with pytest.raises(ValueError, match=r"decay 0\.5 needs out"):
        accumulators()[name](decay=0.5)


@every_accumulator
@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_is_a_fraction(name, decay):
    call = accumulators()[name]
    out = call()
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]"):
        call(out=out, decay=decay)


@every_accumulator
@pytest.mark.parametrize("decay", [None, 0.5])
def test_out_of_another_shape_is_refused(name, decay):
    call = accumulators()[name]
    out = call().unsqueeze(0)
    before = out.clone()
    with pytest.raises(ValueError, match="out has shape"):
        call(out=out, decay=decay)
    assert torch.equal(out, before)


@pytest.mark.parametrize("name", OF_INPUT)
def test_another_input_is_refused(name):
    layer = named("3x3-padding")[0].build()
    with pytest.raises(ValueError, match="input has shape"):
        run(name, layer.a[..., 1:], layer.g, layer.geometry)


@pytest.mark.parametrize("name", OF_VECTORS)
def test_other_vectors_are_refused(name):
    layer = named("3x3-padding")[0].build()
    with pytest.raises(ValueError, match="output gradient has shape"):
        run(name, layer.a, layer.g[..., 1:], layer.geometry)


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("examples", [1, 2])
def test_vectors_of_another_batch_are_refused(name, examples):
    layer = named("3x3-padding")[0].build()
    with pytest.raises(ValueError, match=rf"of {examples} examples, but the input has 3"):
        run(name, layer.a, layer.g[:, :examples], layer.geometry)


@every_case
def test_correction_in_identity_bases_is_the_diagonal(case):
    layer = case.build()
    geometry = layer.geometry
    bases = [
        torch.eye(n, dtype=torch.float64).expand(geometry.grouped(n, n))
        for n in (geometry.group_outputs, geometry.patch_dim)
    ]
    correction = reference("eigenvalue_correction")(layer.a, layer.g, geometry, *bases)
    assert_close(correction, expected_diagonal(layer))


@pytest.mark.parametrize("vectors", [1, 3])
def test_exact_fisher_is_a_sum_of_outer_products(vectors):
    gradients = torch.randn(vectors, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(reference("exact_fisher")(gradients), outer_sum(gradients.flatten(0, 1)) / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_exact_fisher_accumulates_in_float32(dtype):
    gradients = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    result = reference("exact_fisher")(gradients)
    assert result.dtype == torch.float32
    assert relative_error(result, reference("exact_fisher")(gradients.double())) < 1e-6


@pytest.mark.parametrize("shape", [(4, 6), (1, 0, 6), (0, 4, 6), (1, 1, 4, 6)])
def test_exact_fisher_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"exact_fisher takes \[V, N, P\]"):
        kfc_kernels.exact_fisher(torch.zeros(shape))


def positive_definite(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    root = torch.randn(*shape, shape[-1] + 2, dtype=torch.float64, generator=generator)
    return root @ root.mT


def test_nothing_to_precondition():
    assert kfc_kernels.precondition([], [], []) == []
    assert kfc_kernels.precondition_diagonal([], [], 0.1) == []
    assert kfc_kernels.precondition_dense([], []) == []


LAYER_SHAPES = [(3, 5), (1, 1), (2, 4, 3), (6, 2)]


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


def matrices_of(tensor):
    return tensor.reshape(-1, *tensor.shape[-2:])


def test_precondition_solves_the_kronecker_system():
    gradients = [random(*shape) for shape in LAYER_SHAPES]
    gammas = [positive_definite(*shape[:-1]) for shape in LAYER_SHAPES]
    omegas = [positive_definite(*shape[:-2], shape[-1]) for shape in LAYER_SHAPES]
    inverses = [[torch.linalg.inv(factor) for factor in factors] for factors in (gammas, omegas)]
    results = reference("precondition")(gradients, *inverses)
    for gradient, gamma, omega, result in zip(gradients, gammas, omegas, results, strict=True):
        assert result.shape == gradient.shape
        for g, left, right, natural in zip(*map(matrices_of, (gradient, gamma, omega, result)), strict=True):
            solved = torch.linalg.solve(torch.kron(left, right), g.flatten())
            assert_close(natural.flatten(), solved, rtol=1e-6, atol=1e-8)


def test_precondition_diagonal_divides():
    gradients = [random(*shape) for shape in LAYER_SHAPES]
    diagonals = [gradient.square() for gradient in gradients]
    results = reference("precondition_diagonal")(gradients, diagonals, 0.1)
    for gradient, diagonal, result in zip(gradients, diagonals, results, strict=True):
        assert_close(result * diagonal + result * 0.1, gradient)


@pytest.mark.parametrize("shape", [*LAYER_SHAPES, (7,)])
def test_precondition_dense_solves_by_rows(shape):
    gradient = random(*shape)
    groups = shape[:-2]
    block = positive_definite(*groups, gradient.numel() // (groups[0] if groups else 1))
    (result,) = reference("precondition_dense")([gradient], [torch.linalg.inv(block)])
    assert result.shape == gradient.shape
    solved = torch.linalg.solve(block, gradient.reshape(*groups, -1))
    assert_close(result.reshape(solved.shape), solved, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("precondition", ([torch.eye(2)], [torch.eye(2)], [])),
        ("precondition_diagonal", ([torch.eye(2)], [], 0.1)),
        ("precondition_dense", ([], [torch.eye(4)])),
    ],
)
def test_each_layer_needs_its_inverse(name, arguments):
    with pytest.raises(ValueError, match="one of each per layer is needed, not"):
        getattr(kfc_kernels, name)(*arguments)
