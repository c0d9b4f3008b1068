"""The static table's words, and the gate's judgement over rows made by hand."""

from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

from kfc_bench.errors import UserError
from kfc_bench.report.static import COLUMNS, KEY, compiling_triton, render
from kfc_bench.report.static_gate import (
    REGISTER_TOLERANCE,
    judge,
    losses,
    read_snapshot,
    snapshot_path,
    snapshot_text,
    snapshot_versions,
)

ROW = {
    "operator": "input_factor",
    "kernel": "sum_kernel",
    "layer": "3x3",
    "products": "tf32",
    "target": "sm_90",
    "triton": "3.7.1",
    "tile": "BD=64",
    "warps": 8,
    "stages": 3,
    "registers": 128,
    "stack_bytes": 0,
    "spill_load_bytes": 0,
    "spill_store_bytes": 0,
    "shared_bytes": 2048,
    "tensor_memory_columns": 0,
    "matrix_instructions": "wgmma:4",
    "programs": 2,
    "bound": "registers",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"registers": 128 + REGISTER_TOLERANCE}, []),
        ({"registers": 129 + REGISTER_TOLERANCE}, ["registers 128 -> 137"]),
        ({"registers": 90, "shared_bytes": 4096, "tile": "BD=128"}, []),
        ({"stack_bytes": 8, "spill_load_bytes": 4}, ["stack bytes 0 -> 8", "spill load bytes 0 -> 4"]),
        ({"matrix_instructions": "mma.sync:16"}, ["no wgmma any more"]),
        ({"matrix_instructions": "wgmma:2"}, []),
        ({"matrix_instructions": ""}, ["no wgmma any more"]),
        ({"programs": 1, "bound": "shared memory"}, ["programs 2 -> 1 (by shared memory)"]),
    ],
)
def test_what_counts_as_worse(change, said):
    assert losses(ROW, ROW | change) == said


def test_each_worse_row_is_named():
    before = pd.DataFrame([ROW, ROW | {"layer": "1x1"}, ROW | {"layer": "gone"}])
    after = pd.DataFrame([ROW | {"programs": 1}, ROW | {"layer": "1x1"}, ROW | {"layer": "new"}])
    assert judge(before, after) == [
        "input_factor sum_kernel gone tf32 sm_90: in the snapshot, but dispatch picks it no more",
        "input_factor sum_kernel 3x3 tf32 sm_90: programs 2 -> 1 (by registers)",
        "input_factor sum_kernel new tf32 sm_90: not in the snapshot",
    ]
    assert judge(before, before) == []


def test_the_committed_snapshots_are_whole_and_read_back_as_written():
    assert snapshot_versions()
    for version in snapshot_versions():
        frame = read_snapshot(snapshot_path(version))
        assert tuple(frame.columns) == COLUMNS
        assert not frame.duplicated(list(KEY)).any()
        assert set(frame["triton"]) == {version}
        assert snapshot_text(frame) == snapshot_path(version).read_text()


def test_the_table_says_spills_and_what_bounds():
    table = render(pd.DataFrame([ROW, ROW | {"matrix_instructions": "", "stack_bytes": 8}]), "markdown")
    assert (
        "| sum_kernel | 3x3 | tf32 | sm_90 | BD=64 | 8 / 3 | 128 | 0 (0 + 0) | 2 KiB | wgmma:4 | 2 by registers |"
        in table
    )
    assert "| 8 (0 + 0) | 2 KiB | - | 2 by registers |" in table


def test_without_triton_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="triton, which is not installed"):
        compiling_triton()
