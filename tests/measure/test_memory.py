import subprocess
import sys

import pytest
import torch

from kfc_bench.measure.memory import available_bytes, is_out_of_memory, peak_memory

MIB = 2**20


def kept():
    return torch.ones(4 * MIB, dtype=torch.uint8)


def dropped():
    torch.ones(8 * MIB, dtype=torch.uint8)
    return torch.ones(MIB, dtype=torch.uint8)


def overlapping():
    first = torch.ones(3 * MIB, dtype=torch.uint8)
    return torch.cat([first, first])


@pytest.mark.parametrize(("run", "expected"), [(kept, 4), (dropped, 8), (overlapping, 9), (lambda: None, 0)])
def test_peak_of_known_allocations(run, expected):
    peak, result = peak_memory(run, "cpu")
    assert peak.allocator_bytes == pytest.approx(expected * MIB, abs=4096)
    assert peak.rss_bytes >= 0
    assert (result is None) == (expected == 0)


def test_memory_held_before_does_not_count():
    held = kept()
    peak, _ = peak_memory(lambda: held.add_(1), "cpu")
    assert peak.allocator_bytes < 4096


HELD = f"""
import mmap, time
from kfc_bench.measure.memory import peak_memory

def held_for_a_while():
    held = mmap.mmap(-1, {64 * MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held[:: mmap.PAGESIZE] = bytes([1]) * ({64 * MIB} // mmap.PAGESIZE)
    time.sleep(0.1)
    return held

peak, _ = peak_memory(held_for_a_while, "cpu")
print(peak.allocator_bytes, peak.rss_bytes)
"""
"""In a process of its own: what other tests left behind may be given back meanwhile, or handed out again."""


def test_resident_memory_sees_what_the_allocator_does_not():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    allocated, resident = map(int, done.stdout.split())
    assert allocated < 4096
    assert resident > 32 * MIB


def test_peak_memory_lets_errors_through():
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 / 0, "cpu")


LIMITED = """
import torch
from kfc_bench.measure.memory import is_out_of_memory, limit_own_memory
limit_own_memory(64 * 2**20)
torch.ones(16 * 2**20, dtype=torch.uint8)
try:
    {allocate}
except Exception as error:
    assert is_out_of_memory(error), repr(error)
    torch.ones(16 * 2**20, dtype=torch.uint8)
    print("out of memory")
"""


@pytest.mark.parametrize(
    "allocate", ["torch.ones(2**28, dtype=torch.uint8)", "bytearray(2**28)", "torch.ones(2**14, 2**14).cumsum(0)"]
)
def test_a_limited_process_runs_out_and_lives_on(allocate):
    answer = subprocess.run([sys.executable, "-c", LIMITED.format(allocate=allocate)], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, "out of memory\n"), answer.stderr


ERRORS = [
    (MemoryError(), True),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), True),
    (RuntimeError("std::bad_alloc"), True),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    (ValueError("out of memory"), False),
]


@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=repr)
def test_out_of_memory_is_recognised(error, expected):
    assert is_out_of_memory(error) is expected


def test_available_bytes():
    assert MIB < available_bytes("cpu") < 2**50
