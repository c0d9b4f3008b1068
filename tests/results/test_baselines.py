from __future__ import annotations

import json

import pytest

from kfc_bench.results.baselines import NEWEST, Baseline, baseline_path, model_of, read_baselines

NAME = "GPU benchmarks"
H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"


def keep(folder, number, model=H100, name=NAME, **more):
    baseline = Baseline(f"c{number}", f"2026-01-01T00:00:{number:02d}Z", model, {}, {"a": float(number + 1)})
    path = baseline_path(folder, name, model, baseline.commit)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(json.loads(baseline.to_json()) | more))
    return baseline


def test_what_is_kept_is_read_again_by_its_model_alone(tmp_path):
    first, other, second = keep(tmp_path, 1), keep(tmp_path, 2, A100), keep(tmp_path, 3)
    assert read_baselines(tmp_path, NAME, H100, without="") == [first, second]
    assert read_baselines(tmp_path, NAME, A100, without="") == [other]
    assert read_baselines(tmp_path, NAME, H100, without="c3") == [first]
    assert read_baselines(tmp_path / "nowhere", NAME, H100, without="") == []


def test_the_newest_are_read_by_their_time(tmp_path):
    for number in range(NEWEST + 5):
        keep(tmp_path, number)
    assert [entry.commit for entry in read_baselines(tmp_path, NAME, H100, "")] == [
        f"c{number}" for number in range(5, NEWEST + 5)
    ]


def test_models_whose_folders_coincide_are_not_mixed(tmp_path):
    keep(tmp_path, 1, "GPU-X")
    assert read_baselines(tmp_path, NAME, "GPU X", without="") == []


@pytest.mark.parametrize("text", ["", "[]", '{"commit": "c"}', "not json"])
def test_a_broken_file_is_left_out_with_a_warning(tmp_path, text):
    good = keep(tmp_path, 1)
    baseline_path(tmp_path, NAME, H100, "broken").write_text(text)
    with pytest.warns(UserWarning, match=r"broken\.json is no baseline"):
        assert read_baselines(tmp_path, NAME, H100, without="") == [good]


def test_one_of_another_version_is_left_out(tmp_path):
    keep(tmp_path, 1, schema=99)
    with pytest.warns(UserWarning, match="no baseline of this version"):
        assert read_baselines(tmp_path, NAME, H100, without="") == []


@pytest.mark.parametrize(
    ("machine", "model"),
    [
        ({"gpu": {"name": H100}, "cpu": {"brand_raw": "AMD EPYC"}}, H100),
        ({"gpu": None, "cpu": {"brand_raw": "AMD EPYC"}}, "AMD EPYC"),
        ({"machine": "x86_64"}, "x86_64"),
    ],
)
def test_the_model_is_the_gpu_s_or_else_the_processor_s(machine, model):
    assert model_of(machine) == model


def test_two_comparisons_of_a_commit_are_both_kept(tmp_path):
    convolutions, losses = keep(tmp_path, 1, name="convolutions"), keep(tmp_path, 1, name="losses", medians={"l": 2.0})
    assert read_baselines(tmp_path, "convolutions", H100, without="") == [convolutions]
    (kept,) = read_baselines(tmp_path, "losses", H100, without="")
    assert (kept.commit, kept.medians) == (losses.commit, {"l": 2.0})


def test_folders_are_named_by_the_comparison_and_the_model(tmp_path):
    assert (
        baseline_path(tmp_path, NAME, H100, "c1") == tmp_path / "gpu-benchmarks" / "nvidia-h100-80gb-hbm3" / "c1.json"
    )
    assert baseline_path(tmp_path, "Größe", "??", "c1") == tmp_path / "größe" / "unknown" / "c1.json"
