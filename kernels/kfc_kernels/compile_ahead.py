"""Compile a Triton kernel for a GPU that is not there, and read what its binary holds.

The kernel must be a compiled one, so ``TRITON_INTERPRET`` must not be set.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

# The widest first: a Hopper kernel that has any wgmma counts as such.
MATRIX_INSTRUCTIONS = ("tcgen05.mma", "wgmma.mma_async", "mma.sync", "v_mfma")


@dataclass(frozen=True)
class Binary:
    """What a compiled kernel needs and uses.

    Attributes:
        registers: Registers of one thread (on AMD, its vector registers).
        spilled: Bytes that one thread keeps in memory for want of registers.
        shared: Bytes of shared memory of one program.
        matrix_instruction: The family of matrix instructions that it uses, from `MATRIX_INSTRUCTIONS`, or None.
    """

    registers: int
    spilled: int
    shared: int
    matrix_instruction: str | None


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"the compiler's report has nothing like {pattern!r}: its format is a new one")
    return int(found.group(1))


def _cuda_resources(cubin: bytes) -> tuple[int, int]:
    """Return registers and stack bytes, read with the cuobjdump that comes with Triton."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return _number(r"REG:(\d+)", report), _number(r"STACK:(\d+)", report)


def _hip_resources(assembly: str) -> tuple[int, int]:
    """Return registers and scratch bytes, read from the metadata of the assembly."""
    return _number(r"\.vgpr_count:\s+(\d+)", assembly), _number(r"\.private_segment_fixed_size:\s+(\d+)", assembly)


def compile_ahead(kernel: Any, types: Mapping[str, str], configuration: Mapping[str, Any], target: GPUTarget) -> Binary:
    """Compile a kernel as a launch with this configuration would.

    Args:
        kernel: A function decorated with ``triton.jit``.
        types: Triton types of its arguments, such as ``*fp16`` or ``i32``.
        configuration: Its constants and the options of its launch, by name.
        target: One of `TARGETS`.

    Returns:
        What the binary holds.

    Raises:
        TypeError: The kernel is an interpreted one.
        ValueError: The disassembler's report could not be read.
    """
    if not isinstance(kernel, triton.JITFunction):
        raise TypeError("only a compiled kernel can be compiled ahead: unset TRITON_INTERPRET")
    constants = {name: value for name, value in configuration.items() if name in kernel.arg_names}
    options = {name: value for name, value in configuration.items() if name not in kernel.arg_names}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    # What a launch finds true of tensors that torch allocates: they start at a multiple of 16 bytes.
    aligned = {
        (position,): [["tt.divisibility", 16]]
        for position, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    compiled = triton.compile(ASTSource(kernel, signature, constants, aligned), target=target, options=options)
    assembly = compiled.asm["ptx" if target.backend == "cuda" else "amdgcn"]
    registers, spilled = (
        _cuda_resources(compiled.asm["cubin"]) if target.backend == "cuda" else _hip_resources(assembly)
    )
    return Binary(
        registers=registers,
        spilled=spilled,
        shared=compiled.metadata.shared,
        matrix_instruction=next((name for name in MATRIX_INSTRUCTIONS if name in assembly), None),
    )
