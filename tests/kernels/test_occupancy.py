"""Programs per multiprocessor, by hand from the architectures' limits."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from kfc_kernels.compile_ahead import TARGETS, Binary
from kfc_kernels.occupancy import PROCESSORS, Occupancy, occupancy

KIB = 1024


def binary(*, registers=32, shared=0, warps=4, tensor_columns=0):
    return Binary(registers, 0, 0, 0, shared, tensor_columns, warps, 3, {})


def test_every_target_has_a_processor():
    assert PROCESSORS.keys() == TARGETS.keys()


@pytest.mark.parametrize(
    ("needs", "target", "programs", "bound"),
    [
        (binary(), "sm_80", 16, "registers"),
        (binary(registers=24), "sm_80", 16, "warps"),
        (binary(registers=24, warps=1), "sm_80", 16, "warps"),
        (binary(registers=128, warps=8), "sm_90", 2, "registers"),
        (binary(registers=129, warps=8), "sm_90", 1, "registers"),
        (binary(registers=255, warps=16), "sm_90", 0, "registers"),
        (binary(shared=48 * KIB), "sm_80", 3, "shared memory"),
        (binary(shared=163 * KIB), "sm_80", 1, "shared memory"),
        (binary(shared=164 * KIB), "sm_80", 0, "shared memory"),
        (binary(shared=227 * KIB), "sm_90", 1, "shared memory"),
        (binary(tensor_columns=128), "sm_100", 4, "tensor memory"),
        (binary(registers=90, warps=8), "gfx942", 2, "registers"),
        (binary(registers=64), "gfx942", 8, "registers"),
        (binary(registers=512), "gfx942", 1, "registers"),
        (binary(shared=32 * KIB), "gfx942", 2, "shared memory"),
    ],
)
def test_what_runs_out_first(needs, target, programs, bound):
    assert occupancy(needs, target) == Occupancy(programs, bound)
