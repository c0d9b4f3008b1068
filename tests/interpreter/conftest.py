"""Turn Triton's interpreter on, which triton's import decides, if these tests have the process to themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    asked_for = [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]
    alone = all(path.resolve().is_relative_to(HERE) for path in asked_for)
    if alone and "triton" not in sys.modules:
        os.environ["TRITON_INTERPRET"] = "1"
