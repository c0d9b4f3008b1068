"""The sweep over operators holds every operator, implementation, contestant and network that it is about."""

import pytest

from kfc_bench.contestants import contestants
from kfc_bench.problems.networks import layer_geometries
from kfc_bench.resources import share
from kfc_bench.runner.suite import load_suite
from kfc_kernels import ConvGeometry
from kfc_kernels.catalogue import OPERATORS
from tests.helpers import cli_here

SUITE = share("suites") / "kernels.toml"
SWEPT = set(OPERATORS) - {"input_factor", "damped_inverse"}
NETWORKS = {
    "CIFAR-10": layer_geometries("cifar10")["conv2"],
    "SVHN": layer_geometries("svhn")["conv2"],
    "AlexNet": ConvGeometry.conv(64, 192, (27, 27), 5, padding=2),
    "ResNet-18": ConvGeometry.conv(64, 64, (56, 56), 3, padding=1),
    "ResNet-50": ConvGeometry.conv(64, 256, (56, 56), 1),
    "VGG-16": ConvGeometry.conv(512, 512, (28, 28), 3, padding=1),
    "ConvNeXt-T": ConvGeometry.conv(96, 96, (56, 56), 7, padding=3, groups=96),
    "ViT-B, tokens": ConvGeometry.linear(768, 3072, shared=(197,)),
    "ViT-B, head": ConvGeometry.linear(768, 1000, shared=(1,)),
}
every_variant = pytest.mark.parametrize("variant", ["cpu", "cuda"])


def cases_of(variant):
    return [case for section in load_suite(SUITE, "cpu", variant).sections for case in section.plan.due({})]


@every_variant
def test_every_operator_and_network_is_there(variant):
    cases = cases_of(variant)
    assert {case.operator for case in cases} == SWEPT
    assert {case.geometry for case in cases} >= set(NETWORKS.values())


@every_variant
def test_every_implementation_and_contestant_is_there(variant):
    swept = {(case.operator, case.implementation) for case in cases_of(variant)}
    ours = {(operator, entry.name) for operator in SWEPT for entry in OPERATORS[operator].table}
    assert swept == ours | {key for key in contestants() if key[0] in SWEPT}


@every_variant
def test_blocks_are_swept_where_they_fit(variant):
    cases = cases_of(variant)
    blocks = [case.geometry for case in cases if case.operator in ("block_fisher", "precondition_dense")]
    assert max(layer.group_outputs * layer.patch_dim for layer in blocks) <= 4000
    assert max(case.geometry.parameters for case in cases if case.operator == "exact_fisher") <= 4000


@every_variant
def test_gradients_of_many_examples_are_held_within_the_limit(variant):
    cases = cases_of(variant)
    many = {(case.operator, case.implementation) for case in cases if case.batch == 512}
    assert {("diagonal_fisher", "backpack"), ("eigenvalue_correction", "per_example_gradients")} <= many
    assert {case.memory_limit_bytes for case in cases} == {8 * 2**30}


def test_its_cases_can_be_listed(tmp_path):
    done = cli_here("run", "kernels", "--list", "--device", "cpu", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "operators: " in done.stdout
    assert "diagonal_fisher vmap_gradients, cifar10.conv2, batch 64" in done.stdout
    assert not list(tmp_path.iterdir())
