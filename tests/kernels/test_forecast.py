"""The page of predictions says what the model gives."""

from __future__ import annotations

from pathlib import Path

from kfc_kernels.input_factor.forecast import gpu_forecast

PAGE = (Path(__file__).parents[2] / "kernels" / "README.md").read_text()


def test_the_page_s_predictions_are_the_model_s():
    assert f"<!-- forecast -->\n{gpu_forecast()}<!-- end of forecast -->" in PAGE


def test_a_floor_is_below_its_prediction():
    rows = [row.split(" | ") for row in gpu_forecast().splitlines()[2:]]
    cells = [cell for row in rows for cell in row[3:-1]]
    assert len(cells) == 4 * len(rows)
    for cell in cells:
        floor, predicted = cell.split()[0], cell.split()[2]
        assert int(floor) <= int(predicted)
