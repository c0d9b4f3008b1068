import pytest

from kfc_bench.report.contests import MOST_COLUMNS, contest_tables
from kfc_bench.results.frames import load_results
from tests.helpers import cost_record, results_of, write_run


def timed(implementation, seconds, *, layer="a", batch=8, **own):
    return cost_record(
        f"{implementation} {layer} {batch} {own}",
        **{
            "operator": "input_factor",
            "implementation": implementation,
            "layer": layer,
            "batch": batch,
            "cache": "hot",
            "visits": 12,
            "time_median_s": seconds,
            "peak_memory_bytes": 2048,
            **own,
        },
    )


def shown(tmp_path, *records):
    return contest_tables(results_of(tmp_path, list(records)))


def test_implementations_by_layer_the_fastest_first(tmp_path):
    (table,) = shown(
        tmp_path,
        timed("unfold_matmul", 3e-3),
        timed("reference", 1e-3),
        timed("reference", 2e-3, layer="b"),
        timed("unfold_matmul", 4e-3, layer="b"),
        timed("curvlinops", 9e-3, layer="b"),
    )
    assert table.header == ["implementation", "a, batch 8", "b, batch 8"]
    assert table.rows == [
        ["reference (our plain formula)", "1 ms, 2 KiB", "2 ms, 2 KiB"],
        ["unfold_matmul (plain formula)", "3 ms, 2 KiB", "4 ms, 2 KiB"],
        ["curvlinops (library)", "-", "9 ms, 2 KiB"],
    ]
    assert table.title.startswith("input_factor, float32: time of a call and its peak memory (CPU, no GPU")


APART = {
    "precision": ({"precision": "bf16"}, "float32, bf16: time of a call"),
    "cache": ({"cache": "cold"}, "float32, cold cache: time of a call"),
    "dtype": ({"dtype": "float64"}, "float64: time of a call"),
}


@pytest.mark.parametrize("case", APART)
def test_only_like_is_set_beside_like(tmp_path, case):
    own, title = APART[case]
    pairs = [timed(name, seconds, **how) for how in ({}, own) for name, seconds in (("reference", 1.0), ("asdl", 2.0))]
    one, other = shown(tmp_path, *pairs)
    assert "float32: time of a call" in one.title
    assert title in other.title


def test_machines_do_not_race_each_other(tmp_path):
    for env_id, device in (("env1", "X"), ("env2", "Y")):
        records = [timed("reference", 1.0), timed("asdl", 2.0)]
        write_run(tmp_path / env_id, records, f"run of {env_id}", env_id, device=device, device_kind="cuda")
    tables = contest_tables(load_results([tmp_path]))
    assert [table.title.rsplit("(", 1)[1] for table in tables] == ["X)", "Y)"]


def test_whole_passes_race_among_themselves(tmp_path):
    (table,) = shown(tmp_path, timed("reference", 1.0), timed("asdl_api", 2.0), timed("kfc_bench_api", 3.0))
    assert [row[0] for row in table.rows] == ["asdl (library, whole pass)", "kfc_bench (ours, whole pass)"]
    assert "time of a whole pass" in table.title


def test_what_did_not_race_has_no_table(tmp_path):
    records = [
        timed("reference", 1.0),
        timed("asdl", 2.0, visits=6),
        timed("curvlinops", None, status="crashed"),
        timed("kfc", 1.0, operator=None, approximation="kfc", phase="accumulate"),
    ]
    assert shown(tmp_path, *records) == []


def test_of_many_layers_some_are_shown(tmp_path):
    records = [timed(name, 1.0, layer=f"layer {place:02}") for place in range(20) for name in ("reference", "asdl")]
    (table,) = shown(tmp_path, *records)
    assert len(table.header) == 1 + MOST_COLUMNS
    assert (table.header[1], table.header[-1]) == ("layer 00, batch 8", "layer 19, batch 8")
