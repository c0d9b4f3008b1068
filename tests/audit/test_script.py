"""What is printed stands alone, and says what the committed audit says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.script import script
from kfc_bench.audit.table import committed, read_csv
from tests.audit.cases import PEERS, need

FINDINGS = {(finding.library, finding.option): finding for finding in read_csv(committed())}
ASKED = [(library, option) for library in LIBRARIES for option in OPTIONS]


def imported(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_every_script_imports_torch_and_its_library_alone(library):
    for option in OPTIONS.values():
        text = script(library, option)
        assert {*imported(text)} - set(sys.stdlib_module_names) == {"torch", library.module}
        assert not re.search("noqa|type: ignore", text)


@pytest.mark.parametrize(("library", "option"), [("curvlinops", "circular"), ("nngeometry", "groups")])
def test_a_printed_script_runs_by_itself_and_says_what_the_table_says(library, option, tmp_path):
    need(LIBRARIES[library])
    finding = FINDINGS[library, option]
    if LIBRARIES[library].version != finding.version:
        pytest.skip(f"the committed audit is of version {finding.version}")
    path = tmp_path / "script.py"
    path.write_text(script(LIBRARIES[library], OPTIONS[option]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", path.name], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    (line,) = answer.stdout.splitlines()
    error = "nan" if finding.rel_error is None else f"{finding.rel_error:.2g}"
    sides = f"weight: [{finding.found}, {finding.found}] for [{finding.expected}, {finding.expected}]"
    assert line == f"{sides}, relative error {error}"


def test_the_peers_are_five():
    assert len(PEERS) == 5
