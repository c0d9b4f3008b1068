"""Predicted against measured memory of the plain operators, phase by phase: within a factor of two where it matters."""

import pytest
import torch

from kfc_bench.curvature import APPROXIMATIONS, LayerBatch, PhaseBytes
from kfc_bench.measure.memory import peak_memory
from kfc_bench.problems.networks import layer_geometries
from kfc_kernels import ConvGeometry

MATTERS = 2**20
SMALL = " ".join(name for name in APPROXIMATIONS if name != "identity")
LARGE = " ".join(name for name in APPROXIMATIONS if name not in ("block_diagonal", "exact", "identity"))
CASES = {
    "conv-padded-bias": ([ConvGeometry.conv(6, 10, (14, 14), 3, padding=1, bias=True)], SMALL),
    "conv-strided": ([ConvGeometry.conv(6, 10, (28, 28), 3, stride=2, padding=1)], SMALL),
    "conv-5x5": ([ConvGeometry.conv(32, 32, (16, 16), 5, padding=2, bias=True)], LARGE),
    "1x1": ([ConvGeometry.conv(24, 24, (14, 14), 1)], SMALL),
    "groups": ([ConvGeometry.conv(16, 16, (14, 14), 3, padding=1, groups=4, bias=True)], SMALL),
    "linear": ([ConvGeometry.linear(512, 64, bias=True)], LARGE),
    "shared": ([ConvGeometry.linear(24, 24, shared=(32,), bias=True)], SMALL),
    "digits": (list(layer_geometries("digits_small").values()), SMALL),
}


def peak(run):
    return peak_memory(run, "cpu")[0].allocator_bytes


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case, (_, names) in CASES.items() for name in names.split()]
)
def test_prediction_is_within_a_factor_of_two(case, name, vectors):
    geometries, batch = CASES[case][0], 64
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    batches = [
        LayerBatch(
            geometry,
            normal(batch, geometry.in_channels, *geometry.in_size),
            normal(vectors, batch, geometry.out_channels, *geometry.out_size),
        )
        for geometry in geometries
    ]
    gradients = [normal(*geometry.grouped(geometry.group_outputs, geometry.patch_dim)) for geometry in geometries]
    curvature = APPROXIMATIONS[name](damping=1.0, implementation="reference")
    predicted = curvature.predicted_bytes(geometries, batch, vectors, 4)
    measured = {
        "accumulate": max(peak(lambda: curvature.observe(batches)) for _ in range(2)),
        "refresh": peak(curvature.refresh),
        "precondition": peak(lambda: curvature.precondition(gradients)),
    }
    for phase, seen in measured.items():
        wanted = getattr(predicted, phase)
        if max(seen, wanted) > MATTERS:
            assert seen / 2 <= wanted <= 2 * seen, phase


def test_identity_needs_nothing():
    assert APPROXIMATIONS["identity"].predicted_bytes(CASES["digits"][0], 64, 1, 4) == PhaseBytes(0, 0, 0)
