import pytest

from kfc_bench.errors import UserError
from kfc_bench.results.frames import load_results
from kfc_bench.results.schema import CONVERGENCE_COLUMNS, COST_COLUMNS, TRIAL_COLUMNS, VISIT_COLUMNS
from tests.helpers import cost_record, results_of, trial_record, write_run


def cases(results):
    return list(results.cost["case_id"])


def test_columns_are_the_schema_s(tmp_path):
    results = results_of(tmp_path, [cost_record(), trial_record("sgd", 1, 6, 0.5)])
    assert tuple(results.cost.columns) == (*COST_COLUMNS, *VISIT_COLUMNS)
    assert tuple(results.trials.columns) == TRIAL_COLUMNS
    assert tuple(results.convergence.columns) == CONVERGENCE_COLUMNS
    assert (len(results.cost), len(results.trials), len(results.convergence)) == (1, 1, 2)


def test_each_evaluation_is_a_row_of_its_trial(tmp_path):
    rows = results_of(tmp_path, [trial_record("kfc", 3, 6, 0.5)]).convergence
    assert list(rows["step"]) == [0, 6]
    assert list(rows["train_loss"]) == [2.3, 1.1]
    assert set(rows["optimizer"]) == {"kfc"}
    assert rows["test_loss"].isna().all()


def test_a_trial_without_a_curve_has_no_evaluations(tmp_path):
    crashed = {name: value for name, value in trial_record("kfc", 1, None, None).items() if name != "curve"}
    results = results_of(tmp_path, [crashed | {"status": "crashed"}])
    assert (len(results.trials), len(results.convergence)) == (1, 0)


@pytest.mark.parametrize("depth", ["", "laptop", "hosts/laptop/quickstart"])
def test_results_are_found_at_any_depth(tmp_path, depth):
    write_run(tmp_path / depth, [cost_record("a")])
    assert cases(load_results([tmp_path])) == ["a"]


def test_a_run_s_own_folder_is_read(tmp_path):
    write_run(tmp_path, [cost_record("a")], "run1")
    write_run(tmp_path, [cost_record("b")], "run2")
    assert cases(load_results([tmp_path / "run1"])) == ["a"]


def test_the_newest_run_of_each_folder_is_read_unless_all_are_asked_for(tmp_path):
    for host in ("one", "two"):
        for run_id in ("run1", "run2"):
            write_run(tmp_path / host, [cost_record(f"{host} {run_id}")], run_id, f"{host} {run_id}")
    newest, every = load_results([tmp_path]), load_results([tmp_path], every_run=True)
    assert cases(newest) == ["one run2", "two run2"]
    assert cases(every) == ["one run1", "one run2", "two run1", "two run2"]
    assert set(newest.environments) == {"one run2", "two run2"}
    assert len(every.environments) == 4


def test_a_run_without_a_record_does_not_hide_the_one_before(tmp_path):
    write_run(tmp_path, [cost_record("a")], "run1")
    (write_run(tmp_path, [], "run2") / "journal.jsonl").unlink()
    write_run(tmp_path, [], "run3")
    assert cases(load_results([tmp_path])) == ["a"]


def test_several_folders_are_joined(tmp_path):
    write_run(tmp_path / "a", [cost_record("a")], "run1")
    write_run(tmp_path / "b", [cost_record("b")], "run2")
    assert cases(load_results([tmp_path / "a", tmp_path / "b"])) == ["a", "b"]


def test_the_same_folder_twice_counts_once(tmp_path):
    write_run(tmp_path, [cost_record("a")])
    assert cases(load_results([tmp_path, tmp_path])) == ["a"]


def test_of_several_attempts_the_last_counts(tmp_path):
    records = [cost_record("a", status="crashed", attempt=1), cost_record("b"), cost_record("a", attempt=2)]
    results = results_of(tmp_path, records)
    assert dict(zip(results.cost["case_id"], results.cost["status"], strict=True)) == {"a": "ok", "b": "ok"}


def test_an_empty_folder_is_empty(tmp_path):
    results = load_results([tmp_path])
    assert results.is_empty
    assert tuple(results.cost.columns) == (*COST_COLUMNS, *VISIT_COLUMNS)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="no such results folder") as caught:
        load_results([tmp_path / "none"])
    assert str(tmp_path / "none") in str(caught.value)
