import pandas as pd
import pytest

from kfc_bench.errors import UserError
from kfc_bench.report.comparison import COMPARISON_COLUMNS
from kfc_bench.report.export import export_csv
from kfc_bench.report.performance_profile import PROFILE_COLUMNS
from kfc_bench.report.time_to_target import TIME_TO_TARGET_COLUMNS
from kfc_bench.report.tuning import BUDGET_COLUMNS, SENSITIVITY_COLUMNS
from kfc_bench.results.schema import CONVERGENCE_COLUMNS, COST_COLUMNS, TRIAL_COLUMNS
from tests.helpers import cost_record, results_of, step_record, trial_record

RECORDS = {
    "all": [step_record("sgd", (1e-3, 1e-3, 1e-3)), trial_record("sgd", 1, 12, 1.0)],
    "cost": [cost_record(operator="input_factor")],
    "steps": [step_record("sgd", (1e-3, 1e-3, 1e-3)), step_record("kfc", (2e-3, 1e-3, 3e-3))],
    "trials": [trial_record("sgd", 1, 12, 1.0), trial_record("kfc", 1, None, None)],
    "tuning": [trial_record("kfc", 1, 12, 1.0, role="tuning")],
}
WRITTEN = {
    "all": ["cost", "convergence", "trials", "comparison", "time_to_target", "performance_profile"],
    "cost": ["cost"],
    "steps": ["cost", "comparison"],
    "trials": ["convergence", "trials", "comparison", "time_to_target", "performance_profile"],
    "tuning": ["convergence", "trials", "sensitivity", "tuning"],
}
COLUMNS = {
    "cost": list(COST_COLUMNS),
    "convergence": list(CONVERGENCE_COLUMNS),
    "trials": list(TRIAL_COLUMNS),
    "comparison": COMPARISON_COLUMNS,
    "time_to_target": TIME_TO_TARGET_COLUMNS,
    "performance_profile": PROFILE_COLUMNS,
    "sensitivity": SENSITIVITY_COLUMNS,
    "tuning": BUDGET_COLUMNS,
}


@pytest.mark.parametrize("what", RECORDS)
def test_frames_with_rows_are_written_with_the_schema_s_columns(tmp_path, what):
    written = export_csv(results_of(tmp_path / "results", RECORDS[what]), tmp_path / "out")
    assert written == [tmp_path / "out" / f"{name}.csv" for name in WRITTEN[what]]
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)
    for path in written:
        assert list(pd.read_csv(path).columns) == COLUMNS[path.stem]


def test_numbers_survive_exactly(tmp_path):
    times = (0.1 + 0.2, 1 / 3, 1e-17)
    export_csv(results_of(tmp_path / "results", [step_record("sgd", times)]), tmp_path)
    row = pd.read_csv(tmp_path / "cost.csv", dtype=str).iloc[0]
    assert tuple(map(float, row[["time_median_s", "time_ci_low_s", "time_ci_high_s"]])) == times


def test_whole_numbers_stay_whole(tmp_path):
    records = [cost_record("a", flops_algorithm=20736, parameters=54), cost_record("b")]
    export_csv(results_of(tmp_path / "results", records), tmp_path)
    assert pd.read_csv(tmp_path / "cost.csv", dtype=str)["batch"].tolist() == ["64", "64"]


def test_text_is_quoted_where_it_must_be(tmp_path):
    reason = 'a "quoted", broken\nreason'
    export_csv(results_of(tmp_path / "results", [cost_record(status="crashed", reason=reason)]), tmp_path)
    assert pd.read_csv(tmp_path / "cost.csv")["reason"].tolist() == [reason]


def test_an_older_export_is_replaced(tmp_path):
    (tmp_path / "cost.csv").write_text("old")
    export_csv(results_of(tmp_path / "results", RECORDS["cost"]), tmp_path)
    assert (tmp_path / "cost.csv").read_text().startswith("schema,")
    assert (tmp_path / "cost.csv").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--out") as caught:
        export_csv(results_of(tmp_path / "results", RECORDS["cost"]), tmp_path / "file")
    assert str(tmp_path / "file" / "cost.csv") in str(caught.value)
