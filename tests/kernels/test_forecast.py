"""The page of predictions says what the model gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kfc_kernels.catalogue import OPERATORS
from kfc_kernels.forecast import operators_forecast
from kfc_kernels.input_factor.forecast import gpu_forecast

KERNELS = Path(__file__).parents[2] / "kernels"
PAGE = (KERNELS / "README.md").read_text()


def test_the_page_s_predictions_are_the_model_s():
    assert f"<!-- forecast -->\n{gpu_forecast()}<!-- end of forecast -->" in PAGE


def test_the_page_s_predictions_of_the_others_are_the_model_s():
    assert f"<!-- operators forecast -->\n{operators_forecast()}<!-- end of operators forecast -->" in PAGE


def test_every_operator_with_a_kernel_has_a_prediction():
    predicted = {row.split(" | ")[0].removeprefix("| ") for row in operators_forecast().splitlines()[2:]}
    kernels = {name for name, operator in OPERATORS.items() if any("triton" in entry.name for entry in operator.table)}
    assert predicted | {"input_factor"} == kernels


def test_the_page_names_every_implementation():
    folders = {entry.module.split(".")[1]: set() for operator in OPERATORS.values() for entry in operator.table}
    for operator in OPERATORS.values():
        for entry in operator.table:
            folders[entry.module.split(".")[1]].add(entry.name)
    table = PAGE.partition("## The input factor")[0]
    for folder, names in folders.items():
        (row,) = re.findall(rf"^\| `{folder}` \|.*\|(.*)\|$", table, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == names - {"reference"}


def cells_of(table, first, last):
    """A table's predictions: floor and prediction of each, as integers."""
    rows = [row.strip("| ").split(" | ")[first:last] for row in table.splitlines()[2:]]
    return [tuple(map(int, re.findall(r"\d+", cell))) for row in rows for cell in row]


@pytest.mark.parametrize(
    ("table", "first", "last", "columns"), [(gpu_forecast(), 3, 7, 4), (operators_forecast(), 2, 5, 3)]
)
def test_a_floor_is_below_its_prediction(table, first, last, columns):
    cells = cells_of(table, first, last)
    assert len(cells) == columns * len(table.splitlines()[2:])
    assert all(floor <= predicted for floor, predicted in cells)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE))))
def test_the_page_s_links_lead_somewhere(target):
    assert (KERNELS / target).exists()


def test_the_page_lists_every_folder_of_operators():
    folders = {path.parent.name for path in (KERNELS / "kfc_kernels").glob("*/__init__.py")}
    listed = re.findall(r"^\| (`.*?) \|", PAGE.partition("## The input factor")[0], re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(listed))) == folders
