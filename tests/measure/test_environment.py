import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import kfc_bench
import kfc_kernels
from kfc_bench.errors import UserError
from kfc_bench.measure import ceilings
from kfc_bench.measure.environment import (
    PACKAGES,
    PEERS,
    code_hash,
    environment,
    resolve_device,
)
from kfc_bench.results.fingerprint import FINGERPRINT, fingerprint

KEYS = (
    *("device", "device_kind", "driver", "torch", "triton", "code", "commit", "cuda", "gpu", "cpu", "cores", "threads"),
    *("memory_bytes", "python", "platform", "peers", "packages"),
)


def test_environment_is_json_with_its_keys():
    description = environment("cpu")
    assert json.loads(json.dumps(description)) == description
    assert set(description) == set(KEYS)
    assert set(description["packages"]) == set(PACKAGES)
    assert set(description["peers"]) <= set(PEERS)
    assert description["device_kind"] == "cpu"
    assert description["torch"] == torch.__version__
    assert description["gpu"] is description["driver"] is None


def test_fingerprint_leaves_the_commit_out():
    description = environment("cpu")
    assert tuple(fingerprint(description)) == (*FINGERPRINT, "peers")
    assert "commit" not in FINGERPRINT


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_resolve_device(monkeypatch, device, available, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device(device) == expected


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "torch sees no CUDA device here; use --device cpu"),
        ("gpu", "device 'gpu' is not one of auto, cpu, cuda"),
    ],
)
def test_devices_that_are_not_there(monkeypatch, device, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        resolve_device(device)


def hash_of(folder):
    script = "from kfc_bench.measure.environment import code_hash; print(code_hash())"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(folder)}
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_the_code_hash_follows_the_sources_and_nothing_else(tmp_path):
    for package in (kfc_bench, kfc_kernels):
        source = Path(package.__file__).parent
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    assert hash_of(tmp_path) == code_hash()
    (tmp_path / "kfc_bench" / "notes.md").write_text("no code")
    (tmp_path / "kfc_bench" / "share").mkdir(exist_ok=True)
    (tmp_path / "kfc_bench" / "share" / "app.py").write_text("no code of the packages")
    assert hash_of(tmp_path) == code_hash()
    with (tmp_path / "kfc_kernels" / "cost.py").open("a") as file:
        file.write("# changed\n")
    assert hash_of(tmp_path) != code_hash()


def test_ceilings_are_positive_and_measured_once(monkeypatch):
    monkeypatch.setattr(ceilings, "ATTEMPTS", 1)
    monkeypatch.setattr(ceilings, "SIDES", {"cpu": (64, 256)})
    ceilings.measured_ceilings.cache_clear()
    found = ceilings.measured_ceilings("cpu", torch.float32)
    assert found.flops_per_s > 1e8
    assert found.bytes_per_s > 1e7
    assert ceilings.measured_ceilings("cpu", torch.float32) is found
    ceilings.measured_ceilings.cache_clear()


def test_short_samples_do_not_draw_the_ceilings_out(monkeypatch):
    samples = []

    class Clock:
        def sample(self, _):
            time.sleep(1e-3)
            samples.append(None)
            return 1e-7

    monkeypatch.setattr(ceilings, "clock_for", lambda _: Clock())
    monkeypatch.setattr(ceilings, "SIDES", {"cpu": (8,)})
    ceilings.measured_ceilings.cache_clear()
    ceilings.measured_ceilings("cpu", torch.float32)
    ceilings.measured_ceilings.cache_clear()
    assert 2 * ceilings.ATTEMPTS <= len(samples) <= 2 * ceilings.LEAST_S / 1e-3


def test_the_floor_is_the_slower_of_the_two():
    roof = ceilings.Ceilings(flops_per_s=10.0, bytes_per_s=2.0)
    assert roof.least_seconds(100, 2) == 10
    assert roof.least_seconds(10, 8) == 4
