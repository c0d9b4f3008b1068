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

# Each family by its name in PTX or AMD's assembly, and how the disassembly spells it.
MATRIX_INSTRUCTIONS = {
    "tcgen05.mma": r"\bUTC\w*MMA\b",
    "wgmma": r"\b[A-Z]GMMA\b",
    "mma.sync": r"\b[A-Z]MMA\b",
    "v_mfma": r"\bv_mfma_",
}

# Loads and stores of a thread's stack, their widths caught: bits in SASS, words on AMD.
CUDA_STACK = r"\b{}L(?:\.[A-Z]+)*(?:\.[US]?(\d+))?\b"
HIP_STACK = r"\bscratch_{}_dword(?:x(\d))?\b"


@dataclass(frozen=True)
class Binary:
    """What a compiled kernel needs and uses.

    Attributes:
        registers: Registers of one thread (on AMD, its vector registers of both kinds).
        stack: Bytes of one thread's stack, where registers spill to.
        spill_loads: Bytes that the code's loads from the stack read, each instruction counted once.
        spill_stores: Likewise, what its stores write.
        shared: Bytes of shared memory of one program.
        tensor_columns: Columns of tensor memory of one program (sm_100).
        warps: Warps of one program (on AMD, waves).
        stages: Stages of its software pipelines.
        matrix_instructions: Matrix instructions in the code by family, from `MATRIX_INSTRUCTIONS`.
    """

    registers: int
    stack: int
    spill_loads: int
    spill_stores: int
    shared: int
    tensor_columns: int
    warps: int
    stages: int
    matrix_instructions: Mapping[str, int]

    @property
    def spilled(self) -> int:
        """Bytes of stack and of the traffic with it; 0 where all fits into registers."""
        return self.stack + self.spill_loads + self.spill_stores


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"the compiler's report has nothing like {pattern!r}: its format is a new one")
    return int(found.group(1))


def _cuda_facts(cubin: bytes) -> dict[str, Any]:
    """Read registers, stack and instructions with the cuobjdump that comes with Triton."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", "--dump-sass", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        "registers": _number(r"REG:(\d+)", report),
        "stack": _number(r"STACK:(\d+)", report),
        "spill_loads": sum(int(bits or 32) // 8 for bits in re.findall(CUDA_STACK.format("LD"), report)),
        "spill_stores": sum(int(bits or 32) // 8 for bits in re.findall(CUDA_STACK.format("ST"), report)),
        "matrix_instructions": _matrix_instructions(report),
    }


def _hip_facts(assembly: str) -> dict[str, Any]:
    """Read registers, scratch and instructions off the assembly and its metadata."""
    return {
        "registers": _number(r"\.vgpr_count:\s+(\d+)", assembly),
        "stack": _number(r"\.private_segment_fixed_size:\s+(\d+)", assembly),
        "spill_loads": sum(int(words or 1) * 4 for words in re.findall(HIP_STACK.format("load"), assembly)),
        "spill_stores": sum(int(words or 1) * 4 for words in re.findall(HIP_STACK.format("store"), assembly)),
        "matrix_instructions": _matrix_instructions(assembly),
    }


def _matrix_instructions(assembly: str) -> dict[str, int]:
    counts = {name: len(re.findall(pattern, assembly)) for name, pattern in MATRIX_INSTRUCTIONS.items()}
    return {name: count for name, count in counts.items() if count}


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
    cuda = target.backend == "cuda"
    return Binary(
        **(_cuda_facts(compiled.asm["cubin"]) if cuda else _hip_facts(compiled.asm["amdgcn"])),
        shared=compiled.metadata.shared,
        tensor_columns=getattr(compiled.metadata, "tmem_size", None) or 0,
        warps=compiled.metadata.num_warps,
        stages=compiled.metadata.num_stages,
    )
