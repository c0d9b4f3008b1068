import json

import pytest

from kfc_bench.measure.datasheet import DATASHEETS, datasheet
from kfc_bench.measure.precision import PRECISIONS

NAMES = {
    "NVIDIA B200": "B200 (HGX)",
    "NVIDIA H200": "H200 SXM",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA A100-SXM4-40GB": "A100 40GB SXM",
    "NVIDIA A100-SXM4-80GB": "A100 80GB SXM",
    "NVIDIA A100-PCIE-40GB": "A100 40GB PCIe",
    "NVIDIA A100 80GB PCIe": "A100 80GB PCIe",
    "NVIDIA L40S": "L40S",
    "NVIDIA L4": "L4",
    "NVIDIA A10": "A10",
    "Tesla T4": "T4",
    "Tesla V100-SXM2-32GB": "V100 SXM2",
    "Tesla V100-PCIE-16GB": "V100 PCIe",
    "NVIDIA GeForce RTX 4090": "GeForce RTX 4090",
    "AMD Instinct MI300X": "Instinct MI300X",
}
UNKNOWN = [
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA GH200 480GB",
    "NVIDIA A10G",
    "NVIDIA A100X",
    "NVIDIA L40",
    "NVIDIA T400",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "AMD EPYC",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_is_found_by_its_name(name):
    assert datasheet(name).product == NAMES[name]


@pytest.mark.parametrize("name", UNKNOWN)
def test_others_are_not_guessed(name):
    assert datasheet(name) is None


def test_every_sheet_has_a_name_that_finds_it():
    assert {sheet.product for _, sheet in DATASHEETS} == set(NAMES.values())


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_plausible_and_json(name):
    figures = datasheet(name).described()
    assert json.loads(json.dumps(figures)) == figures
    flops = figures["flops_per_s"]
    assert {"ieee", "fp16"} <= set(flops) <= set(PRECISIONS)
    assert ("tf32" in flops) == ("bf16" in flops)
    assert all(5e12 < value < 3e15 for value in flops.values())
    assert flops["ieee"] < flops["fp16"]
    assert 2e11 < figures["bytes_per_s"] < 1e13
