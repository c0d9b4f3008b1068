"""The list of launches covers what the catalogue has, each once."""

from __future__ import annotations

import importlib
from collections import Counter

import pytest
import torch

from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.launches import EVERY_LAYER, HEADLINE, launches
from kfc_kernels.precision import PRODUCTS, multiplying

triton = pytest.importorskip("triton")
if triton.knobs.runtime.interpret:
    pytest.skip("interpreted kernels cannot be compiled: unset TRITON_INTERPRET", allow_module_level=True)


def test_each_has_a_name_of_its_own():
    counts = Counter((launch.operator, launch.kernel, launch.layer, launch.products) for launch in launches())
    assert set(counts.values()) == {1}


def test_every_triton_module_describes_its_launches():
    modules = {entry.module for operator in OPERATORS.values() for entry in operator.table if "triton" in entry.module}
    assert all(hasattr(importlib.import_module(module), "ahead_of_time") for module in modules)


def test_a_launch_that_operators_share_comes_once():
    found = launches()
    shared = [launch.operator for launch in found if launch.function.__name__ == "symmetric_sum_kernel"]
    assert shared == ["input_factor"]
    configurations = Counter(repr((launch.function, launch.types, launch.configuration)) for launch in found)
    assert set(configurations.values()) == {1}


def test_layers_without_which_a_launch_is_described_are_one():
    layers = {launch.layer for launch in launches() if launch.kernel == "grouped_product_kernel"}
    assert layers == {EVERY_LAYER}
    assert {launch.layer for launch in launches()} == {EVERY_LAYER, *HEADLINE}


@pytest.mark.parametrize("products", PRODUCTS)
def test_products_are_set_and_put_back(products):
    before = torch.backends.cuda.matmul.fp32_precision
    with multiplying(products) as dtype:
        assert dtype == PRODUCTS[products]
        assert torch.backends.cuda.matmul.fp32_precision == ("tf32" if products == "tf32" else "ieee")
    assert torch.backends.cuda.matmul.fp32_precision == before
