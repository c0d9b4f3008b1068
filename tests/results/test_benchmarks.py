import json
import resource

import pytest

from kfc_bench.errors import UserError
from kfc_bench.results.benchmarks import extra_info, read_benchmarks
from kfc_bench.results.frames import load_results
from kfc_bench.results.run import ENVIRONMENT, add_run, list_runs
from tests.helpers import ENVIRONMENT_NOW, assert_refused, cli

GPU = ENVIRONMENT_NOW | {"device": "Some GPU", "device_kind": "cuda", "driver": "600"}
MEDIANS = [2e-3, 1e-3, 3e-3]


def benchmark(case_id="a", environment=ENVIRONMENT_NOW, *, stats=None, **own):
    """A benchmark as pytest-benchmark writes it of one of our cases."""
    record = {
        "case_id": case_id,
        "experiment": "cost",
        "device": environment["device_kind"],
        "operator": "input_factor",
        "batch": 64,
        "status": "ok",
        "reason": None,
        "time_median_s": 2e-3,
        "time_ci_low_s": 1e-3,
        "time_ci_high_s": 3e-3,
        "visits": 3,
        "visit_medians_s": MEDIANS,
        **own,
    }
    return {
        "name": f"test_cost[{case_id}]",
        "extra_info": extra_info(record, environment),
        "stats": {"median": 2e-3, "rounds": 3, "data": MEDIANS} if stats is None else stats,
    }


FOREIGN = {"name": "test_theirs", "extra_info": {}, "stats": {"median": 1.0}}


def saved(path, *benchmarks, **changes):
    content = {"machine_info": {}, "benchmarks": benchmarks, "datetime": "2026-11-24T07:08:09.5+01:00", **changes}
    path.write_text(json.dumps(content))
    return path


def without(entry, key):
    return entry | {"extra_info": {name: value for name, value in entry["extra_info"].items() if name != key}}


def test_a_record_survives_the_way_there_and_back(tmp_path):
    (run,) = read_benchmarks(saved(tmp_path / "b.json", benchmark(), benchmark("b", batch=2))).runs
    assert run.environment["run_id"].startswith("20261124T060809-")
    assert ENVIRONMENT_NOW.items() <= run.environment.items()
    assert [(record["case_id"], record["batch"]) for record in run.records] == [("a", 64), ("b", 2)]
    assert run.records[0] == {
        "schema": 1,
        "run_id": run.environment["run_id"],
        "env_id": run.environment["env_id"],
        "case_id": "a",
        "experiment": "cost",
        "section": "pytest",
        "device": "cpu",
        "operator": "input_factor",
        "batch": 64,
        "status": "ok",
        "time_median_s": 2e-3,
        "time_ci_low_s": 1e-3,
        "time_ci_high_s": 3e-3,
        "visits": 3,
        "visit_medians_s": MEDIANS,
    }


def test_what_pytest_benchmark_holds_is_not_held_twice():
    assert not {"time_median_s", "visits", "visit_medians_s", "reason"} & set(benchmark()["extra_info"])


def test_each_device_is_a_run_below_its_name(tmp_path):
    saved(tmp_path / "b.json", benchmark(), benchmark("b", GPU))
    done = cli("import", "b.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "next: kfc-bench summary results/b"
    frames = load_results([tmp_path / "results" / "b"])
    assert dict(zip(frames.cost["device"], frames.cost["case_id"], strict=True)) == {"cpu": "a", "cuda": "b"}
    assert len(frames.environments) == 2
    assert sorted(path.name for path in (tmp_path / "results" / "b").iterdir()) == ["cpu", "cuda"]


def test_importing_twice_does_not_double_anything_and_says_so(tmp_path):
    saved(tmp_path / "b.json", benchmark())
    first = cli("import", "b.json", "--results", "out", cwd=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("out/cpu/*/*")}
    second = cli("import", "b.json", "--results", "out", cwd=tmp_path)
    assert [done.returncode for done in (first, second)] == [0, 0]
    assert first.stdout.splitlines()[0].endswith(": imported; records: 1")
    assert second.stdout.splitlines()[0].endswith(": was imported before; records: 1")
    assert {path: path.read_bytes() for path in tmp_path.glob("out/cpu/*/*")} == before


def test_benchmarks_of_others_are_left_out_and_counted(tmp_path):
    saved(tmp_path / "b.json", benchmark(), FOREIGN, FOREIGN)
    done = cli("import", "b.json", "--results", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "left out, not KFC Bench's: 2" in done.stdout.splitlines()


def test_without_rounds_the_median_is_kept_and_the_visits_are_missed(tmp_path):
    saved(tmp_path / "b.json", benchmark(stats={"median": 2e-3, "rounds": 3}))
    done = cli("import", "b.json", "--results", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "records without their visits: 1; --benchmark-save-data keeps them" in done.stdout.splitlines()
    (run,) = list_runs(tmp_path / "out" / "cpu")
    (record,) = run.records()
    assert (record["time_median_s"], record["time_ci_low_s"], record["visits"]) == (2e-3, 1e-3, 3)
    assert "visit_medians_s" not in record


REFUSED = {
    "not JSON": ("{", "not a JSON file of pytest-benchmark"),
    "binary": (b"\xff\xfe\x00", "not a JSON file of pytest-benchmark"),
    "a number": (3, "not a JSON file of pytest-benchmark"),
    "another JSON": ({"benchmarks": []}, "not a JSON file of pytest-benchmark"),
    "no time": ({"datetime": "today", "benchmarks": [benchmark()]}, "not a JSON file of pytest-benchmark"),
    "no list": ({"datetime": "2026-11-24T07:08:09", "benchmarks": [3]}, "not a JSON file of pytest-benchmark"),
    "nothing of ours": ([FOREIGN], "none of its 1 benchmarks is KFC Bench's"),
    "nothing": ([], "none of its 0 benchmarks is KFC Bench's"),
    "another schema": ([benchmark(schema=0)], "schema version 0, but this kfc-bench reads version 1"),
    "an unknown column": ([benchmark(), benchmark("b", colour="red")], "'test_cost[b]' is no record"),
    "another status": ([benchmark(status="fine")], "status 'fine'"),
    "an unknown experiment": ([benchmark(experiment="magic")], "it lacks 'magic'"),
    "no status": ([without(benchmark(), "status")], "missing ['status']"),
    "no median": ([benchmark(stats={"rounds": 3})], "it lacks 'median'"),
    "no rounds": ([benchmark(stats={"median": 1.0})], "it lacks 'rounds'"),
    "no time at all": ([benchmark(stats={"median": 0.0, "rounds": 3})], "its median of 0.0 s is no time"),
    "a folder for a device": ([benchmark(environment=ENVIRONMENT_NOW | {"device_kind": "../x"})], "device_kind '../x'"),
    "no fingerprint": ([benchmark(environment={"device_kind": "cpu"})], "its environment lacks code, device"),
    "no environment": ([benchmark() | {"extra_info": benchmark()["extra_info"] | {"environment": 3}}], "is no record"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_other_files_are_refused_in_a_line_that_says_how_to_make_one(tmp_path, content, words):
    path = tmp_path / "b.json"
    if isinstance(content, list):
        saved(path, *content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(UserError) as caught:
        read_benchmarks(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "pytest --benchmark --benchmark-json=b.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_file_leaves_nothing(tmp_path):
    saved(tmp_path / "b.json", benchmark(), benchmark("b", colour="red"))
    assert_refused(cli("import", "b.json", "--results", "out", cwd=tmp_path), "b.json: benchmark 'test_cost[b]'")
    assert_refused(cli("import", "none.json", "--results", "out", cwd=tmp_path), "none.json: cannot be read: No such")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", [0, 100, 600])
def test_a_full_disk_leaves_no_half_run(tmp_path, limit):
    (found,) = read_benchmarks(saved(tmp_path / "b.json", *(benchmark(f"case {index}") for index in range(4)))).runs
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match="File too large"):
            add_run(tmp_path / "out", found.environment, found.records)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out").iterdir())


def test_what_a_killed_import_left_is_replaced(tmp_path):
    (found,) = read_benchmarks(saved(tmp_path / "b.json", benchmark())).runs
    left = tmp_path / "out" / found.environment["run_id"]
    left.mkdir(parents=True)
    (left / "journal.jsonl").write_text('{"torn')
    assert list_runs(tmp_path / "out") == []
    run, new = add_run(tmp_path / "out", found.environment, found.records)
    assert new
    assert run.records() == found.records
    assert sorted(path.name for path in run.folder.iterdir()) == [ENVIRONMENT, "journal.jsonl"]
