import pytest

from kfc_bench.report.lead import lead_tables, leads
from tests.helpers import cost_record, results_of


def timed(operator, implementation, seconds, *, layer="a", memory=2048, **own):
    return cost_record(
        f"{operator} {implementation} {layer} {own}",
        **{
            "operator": operator,
            "implementation": implementation,
            "layer": layer,
            "batch": 8,
            "cache": "hot",
            "visits": 12,
            "time_median_s": seconds,
            "peak_memory_bytes": memory,
            **own,
        },
    )


RECORDS = [
    timed("diagonal_fisher", "reference", 4e-3),
    timed("diagonal_fisher", "chunked", 1e-3),
    timed("diagonal_fisher", "backpack", 2e-3, memory=8192),
    timed("diagonal_fisher", "compiled", 3e-3),
    timed("diagonal_fisher", "chunked", 4e-3, layer="b"),
    timed("diagonal_fisher", "backpack", 2e-3, layer="b"),
    timed("output_factor", "reference", 1e-3),
    timed("output_factor", "einsum", 1.02e-3),
    timed("output_factor", "einsum", 1e-3, layer="b"),
]


def test_the_best_of_ours_meets_the_fastest_contestant(tmp_path):
    found = leads(results_of(tmp_path, RECORDS).cost)
    assert list(found[["operator", "layer", "ours", "other"]].itertuples(index=False, name=None)) == [
        ("diagonal_fisher", "a", "chunked", "backpack"),
        ("output_factor", "a", "reference", "einsum"),
        ("diagonal_fisher", "b", "chunked", "backpack"),
    ]
    assert found["speedup"].tolist() == pytest.approx([2, 1.02, 0.5])
    assert found["memory"].tolist() == pytest.approx([4, 1, 1])


def test_a_row_an_operator(tmp_path):
    (table,) = lead_tables(results_of(tmp_path, RECORDS))
    assert table.title.startswith("Our best beside the fastest contestant, float32 (CPU, no GPU")
    slower = "b, batch 8: chunked 4 ms, backpack (library) 2 ms"
    even = "a, batch 8: reference 1 ms, einsum (plain formula) 1.02 ms"
    assert table.rows == [
        ["diagonal_fisher", "2", "1", "0", "1", "1x", "2x", "0.5x", slower],
        ["output_factor", "1", "0", "1", "0", "1.02x", "1x", "1.02x", even],
    ]


def test_an_operator_alone_has_no_table(tmp_path):
    assert lead_tables(results_of(tmp_path, RECORDS[:4])) == []


@pytest.mark.parametrize("odd", [{"visits": 6}, {"status": "wrong"}])
def test_what_counts_for_no_time_is_left_out(tmp_path, odd):
    assert leads(results_of(tmp_path, [RECORDS[1], timed("diagonal_fisher", "backpack", 2e-3, **odd)]).cost).empty


def test_whole_passes_are_no_calls(tmp_path):
    records = [timed("input_factor", "autocovariance", 1e-3), timed("input_factor", "backpack_api", 2e-3)]
    assert leads(results_of(tmp_path, records).cost).empty
