import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch

import kfc_bench
import kfc_kernels
from kfc_bench.errors import UserError
from kfc_bench.measure import environment as module
from kfc_bench.measure.environment import PACKAGES, environment, resolve_device
from kfc_bench.measure.sources import PEERS, code_hash
from kfc_bench.results.fingerprint import FINGERPRINT, fingerprint

KEYS = (
    *("device", "device_kind", "driver", "torch", "triton", "code", "commit", "dirty", "cuda", "gpu", "datasheet"),
    *("cpu", "cpu_caches", "cores", "threads", "memory_bytes", "python", "platform", "libraries", "torch_flags"),
    *("triton_flags", "variables", "peers", "packages"),
)


def test_environment_is_json_with_its_keys():
    description = environment("cpu")
    assert json.loads(json.dumps(description)) == description
    assert set(description) == set(KEYS)
    assert set(description["packages"]) == set(PACKAGES)
    assert set(description["peers"]) <= set(PEERS)
    assert description["device_kind"] == "cpu"
    assert description["torch"] == torch.__version__
    assert description["gpu"] is description["driver"] is description["datasheet"] is None
    assert description["libraries"]["mkldnn"] in (True, False)
    assert description["torch_flags"]["float32_products"] == {
        "ieee": "ieee",
        "tf32": "tf32",
        "bf16": "ieee",
        "fp16": "ieee",
    }


def test_variables_that_change_times_are_kept_unless_they_hold_a_path(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/somewhere/private")
    monkeypatch.setenv("UNRELATED_TOKEN", "secret")
    variables = environment("cpu")["variables"]
    assert variables["OMP_NUM_THREADS"] == "3"
    assert variables["NVIDIA_TF32_OVERRIDE"] == "0"
    assert {"TRITON_CACHE_DIR", "UNRELATED_TOKEN"}.isdisjoint(variables)


def test_a_gpu_stands_beside_its_datasheet(monkeypatch):
    properties = SimpleNamespace(
        name="NVIDIA H100 80GB HBM3", major=9, minor=0, total_memory=1, L2_cache_size=2, multi_processor_count=3
    )
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(module, "nvml_handle", object)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerManagementLimit", lambda _: 700_000)
    description = environment("cuda")
    assert json.loads(json.dumps(description)) == description
    assert (description["device"], description["driver"]) == ("NVIDIA H100 80GB HBM3", "580.1")
    assert (description["gpu"]["capability"], description["gpu"]["power_limit_w"]) == ("9.0", 700.0)
    assert description["datasheet"]["bytes_per_s"] == 3_350_000_000_000
    monkeypatch.setattr(module, "nvml_handle", lambda: None)
    properties.name = "another"
    description = environment("cuda")
    assert description["driver"] is description["datasheet"] is description["gpu"]["power_limit_w"] is None


def test_triton_is_told_about_fusion_before_it_can_be_imported():
    script = """
import os, sys
os.environ.pop("TRITON_DEFAULT_FP_FUSION", None)
import kfc_bench
assert "triton" not in sys.modules and "torch" not in sys.modules
print(os.environ["TRITON_DEFAULT_FP_FUSION"])
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout.strip()) == (0, "1"), answer.stderr
    assert environment("cpu")["triton_flags"]["fp_fusion"] == os.environ["TRITON_DEFAULT_FP_FUSION"]


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Let the package lie in another folder, ``kfc_bench`` in an empty one."""
    package = tmp_path / "kfc_bench"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(kfc_bench, "__file__", str(package / "__init__.py"))
    return tmp_path


@pytest.mark.usefixtures("elsewhere")
def test_an_installation_has_no_commit_with_git_or_without(monkeypatch):
    assert module._checkout() == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", "")
    assert module._checkout() == {"commit": None, "dirty": None}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_this_package_and_its_sources_are_dirty_or_not(elsewhere):
    def git(*arguments):
        subprocess.run(
            ["git", "-C", str(elsewhere), "-c", "user.name=x", "-c", "user.email=x@y", *arguments], check=True
        )

    git("init", "-q")
    (elsewhere / "notes").write_text("of somebody else's repository")
    git("add", "notes")
    git("commit", "-q", "-m", "notes")
    assert module._checkout() == {"commit": None, "dirty": None}
    git("add", "kfc_bench")
    git("commit", "-q", "-m", "all")
    checkout = module._checkout()
    assert len(checkout["commit"]) == 40
    assert checkout["dirty"] is False
    (elsewhere / "results.csv").write_text("no source")
    assert module._checkout()["dirty"] is False
    (elsewhere / "kfc_bench" / "more.py").write_text("a source")
    assert module._checkout()["dirty"] is True


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
    script = "from kfc_bench.measure.sources import code_hash; print(code_hash())"
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
