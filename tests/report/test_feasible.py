"""How large a layer each approximation takes, from records made by hand."""

import math

import pytest

from kfc_bench.report.feasible import feasible_sizes
from kfc_bench.report.tables import feasible_table
from tests.helpers import cost_record, results_of

GIB = 2**30


def phase(approximation, name, channels, batch, *, size=7, kernel=3, **own):
    return cost_record(
        f"{approximation} {name} {channels} {size} {kernel} {batch}",
        approximation=approximation,
        phase=name,
        layer=f"{channels}->{channels} {size}x{size} k{kernel}x{kernel}",
        in_channels=channels,
        out_channels=channels,
        size=f"{size}x{size}",
        kernel=f"{kernel}x{kernel}",
        groups=1,
        bias=False,
        parameters=channels**2 * kernel**2,
        **{"batch": batch, "peak_memory_bytes": 1000 * channels} | own,
    )


def too_large(needs):
    return {"status": "unsupported", "reason": "predicted", "predicted_bytes": needs}


def sizes_of(folder, records):
    frame = feasible_sizes(results_of(folder, records).cost)
    return {row["approximation"]: row for row in frame.to_dict("records")}


def test_the_largest_layer_and_the_largest_batch_that_ran(tmp_path):
    records = [
        phase("kfc", "accumulate", 16, 1),
        phase("kfc", "accumulate", 16, 4096),
        phase("kfc", "accumulate", 64, 1),
        phase("kfc", "accumulate", 64, 256),
        phase("kfc", "accumulate", 64, 4096, **too_large(9 * GIB)),
        phase("kfc", "accumulate", 512, 1, **too_large(5 * GIB)),
    ]
    found = sizes_of(tmp_path, records)["kfc"]
    assert (found["largest_layer"], found["largest_batch"]) == ("64->64 7x7 k3x3", 256)
    assert (found["largest_parameters"], found["largest_peak_bytes"]) == (64**2 * 9, 64_000)
    assert (found["widest_batch"], found["widest_layer"]) == (4096, "16->16 7x7 k3x3")
    assert (found["next_layer"], found["next_batch"], found["next_bytes"]) == ("512->512 7x7 k3x3", 1, 5 * GIB)
    assert (found["too_large"], found["too_slow"], found["failed"]) == (2, 0, 0)


def test_what_a_batch_needs_is_not_what_another_batch_needs(tmp_path):
    needs = {16: {"accumulate": 4.9, "refresh": 7.34}, 256: {"accumulate": 4.92, "refresh": 7.36}}
    records = [
        phase("exact", name, 64, batch, **too_large(size * GIB))
        for batch, phases in needs.items()
        for name, size in phases.items()
    ]
    found = sizes_of(tmp_path, records)["exact"]
    assert (found["next_batch"], found["next_bytes"]) == (16, 7.34 * GIB)


def test_a_layer_whose_refresh_does_not_fit_is_not_feasible_on_any_map_at_any_batch(tmp_path):
    records = [
        phase("exact", "accumulate", 16, 1, kernel=1),
        phase("exact", "refresh", 16, 1, kernel=1),
        *(phase("exact", "accumulate", 16, batch, size=size) for batch in (1, 64) for size in (7, 56)),
        phase("exact", "refresh", 16, 1, **too_large(3 * GIB)),
    ]
    found = sizes_of(tmp_path, records)["exact"]
    assert (found["largest_layer"], found["largest_batch"]) == ("16->16 7x7 k1x1", 1)
    assert (found["next_bytes"], found["too_large"]) == (3 * GIB, 4)


def test_one_refresh_that_ran_stands_for_every_batch(tmp_path):
    records = [
        *(phase("kfc", "accumulate", 16, batch) for batch in (1, 64)),
        phase("kfc", "refresh", 16, 1),
        phase("kfc", "refresh", 16, 64, **too_large(3 * GIB)),
    ]
    assert sizes_of(tmp_path, records)["kfc"]["largest_batch"] == 64


@pytest.mark.parametrize(
    ("own", "counted"),
    [
        ({"status": "unsupported", "predicted_call_s": 3.0}, "too_slow"),
        ({"status": "timeout"}, "too_slow"),
        ({"status": "oom"}, "too_large"),
        ({"status": "wrong"}, "failed"),
        ({"status": "crashed"}, "failed"),
    ],
)
def test_what_did_not_run_is_counted_by_why(tmp_path, own, counted):
    found = sizes_of(tmp_path, [phase("kfc", "accumulate", 16, 1, **own)])["kfc"]
    assert [name for name in ("too_large", "too_slow", "failed") if found[name]] == [counted]
    assert not isinstance(found["largest_layer"], str)
    assert math.isnan(found["next_bytes"])


def test_sgd_networks_and_operators_have_no_size(tmp_path):
    records = [
        phase("sgd", "accumulate", 16, 1),
        cost_record("step", approximation="kfc", phase="step", network="digits"),
        cost_record("operator", operator="input_factor", layer="a", time_median_s=1.0),
        phase("kfc", "refresh", 16, 1),
    ]
    assert sizes_of(tmp_path, records) == {}


def test_the_table_in_words(tmp_path):
    records = [
        phase("exact", "accumulate", 16, 1, **too_large(5 * GIB)),
        phase("kfc", "accumulate", 16, 256),
        phase("kfc", "accumulate", 16, 4096, status="unsupported", predicted_call_s=3.0),
    ]
    layer = "16->16 7x7 k3x3"
    table = feasible_table(results_of(tmp_path, records))
    assert table.rows == [
        ["kfc", f"{layer}, batch 256", "2304", "15.6 KiB", f"{layer}, batch 256", "none", "-", "0", "1"],
        ["exact", "none", "-", "-", "none", f"{layer}, batch 1", "5 GiB", "1", "0"],
    ]
