from dataclasses import replace

import pytest
from torch import nn

from kfc_bench.experiments.profile.layers import modules
from kfc_bench.prediction import operations
from kfc_bench.prediction.held_out import HELD_OUT_FILE, held_out, past_error, read_held_out
from kfc_bench.prediction.measured import Measured
from kfc_bench.prediction.model import DeviceModel
from kfc_bench.prediction.predict import Question, _blocks_bytes, predict, with_sgd
from kfc_bench.prediction.replay import Step, replay
from kfc_bench.prediction.samples import samples
from kfc_bench.problems.networks import NETWORKS, Network
from tests.helpers import results_of, write_run
from tests.prediction.synthetic import DEVICE, EVERY, EXACT, profile_record

MODEL = DeviceModel(DEVICE, EXACT, {"one": [0.2, -0.1], "two": [0.1, -0.3]}, False, "rates")
KFC = Step("kfc", 8)


def question(network="digits", free=None):
    entry = NETWORKS[network]
    return Question(network, entry, modules(entry), *EVERY, free)


@pytest.fixture(scope="module")
def kfc_record():
    return profile_record("digits", KFC)


@pytest.fixture
def nothing(tmp_path):
    return Measured(results_of(tmp_path / "nothing", []), DEVICE)


def test_exact_rates_predict_the_step(nothing, kfc_record):
    found = predict(question(), KFC, MODEL, nothing)
    assert found.seconds == pytest.approx(kfc_record["step_s"])
    assert found.measured_share == 0
    assert found.low < found.seconds < found.high
    assert found.step_bytes == kfc_record["peak_memory_bytes"]
    assert sum(found.phases.values()) == pytest.approx(found.seconds)


def test_a_step_that_was_measured_is_not_predicted(tmp_path, kfc_record):
    record = {**kfc_record, "step_s": 1.0, "step_ci_low_s": 0.9, "step_ci_high_s": 1.2}
    known = results_of(tmp_path, [record])
    found = predict(question(), KFC, MODEL, Measured(known, DEVICE))
    assert (found.seconds, found.low, found.high, found.measured_share) == (1.0, 0.9, 1.2, 1.0)
    for other in (replace(KFC, batch=16), replace(KFC, clip=0.3), Step("ekfac", 8)):
        assert predict(question(), other, MODEL, Measured(known, DEVICE)).seconds < 0.5
    assert predict(question(), KFC, MODEL, Measured(known, "another device")).measured_share == 0
    assert predict(question(), KFC, MODEL, Measured(known, DEVICE, frozenset(["digits"]))).measured_share == 0


def test_layers_alike_take_what_they_took_elsewhere(tmp_path, kfc_record):
    record = {**kfc_record, "network": "another"}
    record["parts"] = [{**part, "call_s": 3 * part["call_s"]} for part in record["parts"]]
    found = predict(question(), KFC, MODEL, Measured(results_of(tmp_path, [record]), DEVICE))
    assert 0 < found.measured_share < 1
    phases = predict(question(), KFC, MODEL, Measured(results_of(tmp_path / "none", []), DEVICE)).phases
    # All its parts are of layers, each of which there was elsewhere; preconditioning serves all layers at once.
    assert found.phases["input factor"] == pytest.approx(3 * phases["input factor"])
    assert found.phases["precondition"] == pytest.approx(phases["precondition"])


def test_out_of_memory_is_foretold(nothing):
    needed = predict(question(), KFC, MODEL, nothing).needed_bytes
    assert predict(question(free=needed), KFC, MODEL, nothing).fits
    assert predict(question(free=needed - 1), KFC, MODEL, nothing).fits is False
    sgd = predict(question(free=2**40), Step("sgd", 2**40), MODEL, nothing)
    assert sgd.fits is False
    found = predict(question(free=2**40), replace(KFC, batch=2**40), MODEL, nothing, sgd)
    assert found.fits is False
    assert found.needed_bytes == sgd.needed_bytes


class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x).sum(0, keepdim=True)


def test_what_cannot_run_says_why(nothing):
    entry = Network(Sums, (4,), 3)
    found = predict(Question("sums", entry, {}, *EVERY, None), KFC, MODEL, nothing)
    assert found.reason
    assert found.needed_bytes == 0


def test_sgd_comes_first_and_once():
    steps = with_sgd([Step("kfc", 8), Step("sgd", 8), Step("kfc", 16)])
    assert [(step.approximation, step.batch) for step in steps] == [("sgd", 8), ("kfc", 8), ("sgd", 16), ("kfc", 16)]


def test_samples_join_parts_with_what_they_do(tmp_path, kfc_record):
    (found,) = samples(results_of(tmp_path, [kfc_record]), lambda _: None)
    assert found.replayed_bytes == found.peak_bytes
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.seconds)
    for part in found.parts:
        assert EXACT.of(part.amounts) == pytest.approx(part.seconds, rel=0.1)


def test_held_out_steps_do_not_know_themselves(tmp_path, kfc_record):
    slow = {**kfc_record, "step_s": 2 * kfc_record["step_s"], "peak_memory_bytes": 2 * kfc_record["peak_memory_bytes"]}
    write_run(tmp_path, [slow])
    results = results_of(tmp_path / "again", [slow])
    rows = held_out(results, results, {DEVICE: MODEL}, lambda _: None)
    assert rows["time_error"].tolist() == [pytest.approx(-0.5, abs=0.02)]
    assert rows["memory_error"].tolist() == [pytest.approx(-0.5)]
    assert rows["measured_share"].tolist() == [0]
    said = past_error(rows)
    assert "in the median (misses the target of 25 %)" in said
    assert "0 of 1 within their interval" in said
    rows.to_csv(tmp_path / HELD_OUT_FILE, index=False)
    assert past_error(read_held_out(tmp_path)) == said


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.large = nn.Linear(512, 512)
        self.head = nn.Linear(512, 3)
        self.large.requires_grad_(False)

    def forward(self, x):
        return self.head(self.large(self.body(x).flatten(1)))


def test_blocks_are_of_what_is_trained_and_of_each_group():
    entry = Network(Frozen, (8, 8, 8), 3)
    asked = Question("frozen", entry, modules(entry), *EVERY, None)
    of_groups, of_head = 8 * 9**2, (3 * 513) ** 2
    assert _blocks_bytes(asked, Step("block_diagonal", 8)) == 8 * (of_groups + of_head)
    assert _blocks_bytes(asked, Step("exact", 8)) == 8 * (8 * 9 + 3 * 513) ** 2
    assert _blocks_bytes(asked, Step("kfc", 8)) == 0


def test_parts_of_unlike_approximations_are_not_taken_for_one_another(tmp_path, kfc_record):
    record = {**kfc_record, "network": "another", "parts": [{**part, "call_s": 100.0} for part in kfc_record["parts"]]}
    known = Measured(results_of(tmp_path, [record]), DEVICE)
    phases = predict(question(), Step("kfc_reduce", 8), MODEL, known).phases
    assert phases["forward"] > 50
    assert phases["input factor"] < 1


def test_vectors_of_every_class_are_not_one_sample(tmp_path, kfc_record):
    known = Measured(results_of(tmp_path, [{**kfc_record, "fisher": "type2"}]), DEVICE)
    assert predict(question(), KFC, MODEL, known).measured_share == 0


def test_parts_that_marks_made_longer_are_scaled_to_the_step(tmp_path, kfc_record):
    def forward(folder, **columns):
        record = {**kfc_record, "network": "another", **columns}
        known = Measured(results_of(tmp_path / folder, [record]), DEVICE)
        return predict(question(), KFC, MODEL, known).phases["forward"]

    plain = forward("plain", parts_share=1.0)
    # But for the little that belongs to no layer.
    assert forward("marked", parts_share=1.25) == pytest.approx(plain / 1.25, rel=0.01)


def test_a_gpu_has_none_of_a_cpu_s_scratch(monkeypatch):
    monkeypatch.setattr(operations, "scratch_bytes", lambda *_: 2**40)
    entry = NETWORKS["digits"]
    assert replay(entry, Step("sgd", 8)).step_bytes > 2**40
    assert replay(entry, Step("sgd", 8), "cuda").step_bytes < 2**20
