"""How many programs of a kernel a multiprocessor holds at once, and which resource sets that bound."""

from __future__ import annotations

from dataclasses import dataclass

from kfc_kernels.compile_ahead import Binary

# Warps are spread over four partitions (AMD: SIMDs), each with 512 registers a lane, given out by eights.
PARTITIONS = 4
LANE_REGISTERS = 512
REGISTER_UNIT = 8

KIB = 1024


@dataclass(frozen=True)
class Processor:
    """What a multiprocessor (AMD: compute unit) has for the programs on it.

    Attributes:
        warps: Warps of one partition.
        programs: Programs that it counts.
        shared: Bytes of shared memory.
        shared_unit: Bytes in which shared memory is given out.
        shared_reserved: Bytes that each program takes besides its own.
        tensor_columns: Columns of tensor memory.
    """

    warps: int
    programs: int
    shared: int
    shared_unit: int
    shared_reserved: int = 0
    tensor_columns: int = 0


PROCESSORS = {
    "sm_80": Processor(16, 32, 164 * KIB, 128, shared_reserved=KIB),
    "sm_90": Processor(16, 32, 228 * KIB, 128, shared_reserved=KIB),
    "sm_100": Processor(16, 32, 228 * KIB, 128, shared_reserved=KIB, tensor_columns=512),
    "gfx942": Processor(8, 16, 64 * KIB, 512),
}


@dataclass(frozen=True)
class Occupancy:
    """Programs that a multiprocessor holds at once.

    Attributes:
        programs: How many; 0 where not even one fits.
        bound: The resource that runs out first.
    """

    programs: int
    bound: str


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def occupancy(binary: Binary, target: str) -> Occupancy:
    """Bound the programs on one multiprocessor.

    Args:
        binary: What the kernel needs.
        target: A key of `PROCESSORS`.

    Returns:
        The smallest bound; of equal ones the first of registers, shared memory, tensor memory, warps, programs.
    """
    processor = PROCESSORS[target]
    fitting = LANE_REGISTERS // _up(binary.registers, REGISTER_UNIT)
    warps = -(-binary.warps // PARTITIONS)
    shared = _up(binary.shared + processor.shared_reserved, processor.shared_unit)
    bounds = {
        "registers": fitting // warps,
        "shared memory": processor.shared // shared if shared else processor.programs,
        "tensor memory": (
            processor.tensor_columns // binary.tensor_columns if binary.tensor_columns else processor.programs
        ),
        "warps": processor.warps // warps,
        "programs": processor.programs,
    }
    bound = min(bounds, key=bounds.__getitem__)
    return Occupancy(bounds[bound], bound)
