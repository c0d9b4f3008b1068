"""The example runs as it stands in the README, and learns."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_digits.py"


@pytest.mark.parametrize("arguments", [[], ["--sgd"]], ids=["kfc-pre", "sgd"])
def test_it_learns(arguments):
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", EXAMPLE, "--epochs", "3", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    errors = [float(found) for found in re.findall(r"test error ([\d.]+) %", done.stdout)]
    assert len(errors) == 3
    assert errors[-1] < 10
