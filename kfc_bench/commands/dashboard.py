"""``kfc-bench dashboard``: results in a browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from kfc_bench.errors import UserError


def dashboard(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Results folders; the committed ones if none is given.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
) -> None:
    """Open the dashboard over results, on this machine only."""
    import importlib.util

    from kfc_bench.resources import share

    for folder in results or []:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such results folder; make one with: kfc-bench run quickstart")
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("the dashboard needs streamlit: pip install 'kfc-bench[dashboard]'")
    command = [sys.executable, "-m", "streamlit", "run", str(share("dashboard") / "app.py")]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port), "--browser.gatherUsageStats", "false"]
    command += ["--", *(str(folder.resolve()) for folder in results or [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
