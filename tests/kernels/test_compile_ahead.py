"""The launches that dispatch picks, compiled without a GPU: no spilled registers, wgmma, no worse than the snapshot.

Compiled are all headline layers for Hopper, of operators other than the input factor a few, but for float16, which is
bfloat16's twin, unusual layers in tf32, and three kinds of layers elsewhere, shared out among the other targets;
``kfc-bench kernels --check`` compiles all rows of the snapshot.
"""

from __future__ import annotations

from collections import Counter

import pytest

from kfc_kernels import ConvGeometry
from kfc_kernels.launches import EVERY_LAYER, launches

triton = pytest.importorskip("triton")
if triton.knobs.runtime.interpret:
    pytest.skip("interpreted kernels cannot be compiled: unset TRITON_INTERPRET", allow_module_level=True)

from kfc_bench.report.static import KEY, static_row  # noqa: E402
from kfc_bench.report.static_gate import losses, read_snapshot, snapshot_path, snapshot_versions  # noqa: E402
from kfc_kernels.compile_ahead import TARGETS, compile_ahead  # noqa: E402

conv = ConvGeometry.conv

UNUSUAL = {
    "3x3-valid": conv(32, 64, (28, 28), 3),
    "5x5-bias": conv(32, 64, (16, 16), 5, padding=2, bias=True),
    "dilated": conv(64, 64, (28, 28), 3, padding=2, dilation=2),
    "circular": conv(64, 64, (28, 28), 3, padding=1, padding_mode="circular"),
    "groups": conv(128, 128, (28, 28), 3, padding=1, groups=32),
    "conv1d": conv(64, 128, (400,), 3, padding=1, bias=True),
    "linear-shared": ConvGeometry.linear(512, 512, shared=(128,), bias=True),
}
TWIN = "float16"
"""Compiled as bfloat16 is, so that one of them is enough."""

FEW = ("3x3-stride2-bias", "7x7-stem", "depthwise", "linear", EVERY_LAYER)
ELSEWHERE = ("3x3-stride2-bias", "3x3-256", EVERY_LAYER)
PRODUCTS = ("ieee", "tf32", "bfloat16")
OTHERS = tuple(target for target in TARGETS if target != "sm_90")

SPILLS = {
    ("eigenvalue_correction", "diagonal_fisher_kernel", "3x3-stride2-bias", "ieee", "sm_80"): 8,
    ("eigenvalue_correction", "diagonal_fisher_kernel", "3x3-stride2-bias", "tf32", "sm_100"): 8,
    ("eigenvalue_correction", "diagonal_fisher_kernel", "7x7-stem", "ieee", "sm_80"): 8,
    ("input_factor", "lag_sums_kernel", "3x3-64", "tf32", "sm_80"): 8,
    ("output_factor", "symmetric_product_kernel", "3x3-64", "tf32", "sm_100"): 16,
}
"""Bytes of stack of the snapshot's rows that have any, by operator, kernel, layer, products and target."""


def named(found):
    return [
        pytest.param(launch, id=f"{launch.operator}-{launch.kernel}-{launch.layer}-{launch.products}")
        for launch in found
    ]


def launches_elsewhere(target):
    """List a target's launches: a kernel's with two layers are shared out, in a Latin square of layers and products."""
    found = [launch for launch in launches(target=target) if launch.layer in ELSEWHERE and launch.products != TWIN]
    counts = Counter((launch.operator, launch.kernel) for launch in found)

    def takes_its_turn(launch):
        turn = ELSEWHERE.index(launch.layer) + PRODUCTS.index(launch.products)
        whole = counts[launch.operator, launch.kernel] >= 2 * len(PRODUCTS)
        return not whole or turn % len(OTHERS) == OTHERS.index(target)

    return filter(takes_its_turn, found)


def multiplies_matrices(launch):
    """Whether a program's products are of 64 rows or more, and not exact ones of float32 numbers, as squares are."""
    sides = launch.configuration
    squares = launch.function.__name__ == "squares_kernel"
    float32 = squares or "*fp32" in (launch.types.get("a"), launch.types.get("maps"))
    exact = float32 and sides.get("PRECISION") == "ieee"
    rows = next((sides[name] for name in ("BM", "BK", "BD") if name in sides), 0)
    return launch.products != "ieee" and "PRECISION" in sides and not exact and rows >= 64


def assert_fit_for_hopper(launch, spills, families):
    assert spills == 0
    if launch.products == "ieee":
        assert not families
    elif multiplies_matrices(launch):
        assert "wgmma" in families


def spilled(row):
    return row["stack_bytes"] + row["spill_load_bytes"] + row["spill_store_bytes"]


def snapshot():
    path = snapshot_path(triton.__version__)
    if not path.exists():
        pytest.skip(f"the snapshot is of triton {', '.join(snapshot_versions())}, and this is {triton.__version__}")
    return {tuple(row[name] for name in KEY): row for row in read_snapshot(path).to_dict("records")}


def assert_no_worse(row):
    rows = snapshot()
    key = tuple(row[name] for name in KEY)
    assert key in rows, "kfc-bench kernels --update"
    assert losses(rows[key], row) == []


def test_the_snapshot_has_every_launch_fit_for_hopper():
    rows = snapshot()
    assert rows.keys() == {
        (launch.operator, launch.kernel, launch.layer, launch.products, target)
        for target in TARGETS
        for launch in launches(target=target)
    }
    for launch in launches():
        row = rows[launch.operator, launch.kernel, launch.layer, launch.products, "sm_90"]
        assert_fit_for_hopper(launch, spilled(row), row["matrix_instructions"])


@pytest.mark.parametrize(
    "launch",
    named(
        launch
        for launch in launches()
        if launch.products != TWIN and (launch.operator == "input_factor" or launch.layer in FEW)
    ),
)
def test_hopper(launch):
    row = static_row(launch, "sm_90")
    assert_fit_for_hopper(launch, spilled(row), row["matrix_instructions"])
    assert_no_worse(row)


@pytest.mark.parametrize(
    "launch",
    named(launch for launch in launches(UNUSUAL) if launch.layer != EVERY_LAYER and launch.products == "tf32"),
)
def test_hopper_with_unusual_layers(launch):
    binary = compile_ahead(launch.function, launch.types, launch.configuration, TARGETS["sm_90"])
    assert_fit_for_hopper(launch, binary.spilled, binary.matrix_instructions)


@pytest.mark.parametrize(
    ("target", "launch"),
    [
        pytest.param(target, *parameter.values, id=f"{target}-{parameter.id}")
        for target in OTHERS
        for parameter in named(launches_elsewhere(target))
    ],
)
def test_elsewhere(target, launch):
    row = static_row(launch, target)
    families = {"sm_80": "mma.sync", "sm_100": "tcgen05.mma", "gfx942": "v_mfma"}
    if multiplies_matrices(launch):
        assert families[target] in row["matrix_instructions"]
    assert_no_worse(row)


def test_every_spill_is_listed():
    assert {key: row["stack_bytes"] for key, row in snapshot().items() if spilled(row)} == SPILLS
