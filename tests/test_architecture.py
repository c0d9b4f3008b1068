"""Imports run one way, downwards, read off the sources."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BOTTOM = ("errors", "resources", "spans", "__init__")
LAYERS: list[tuple[str, ...]] = [
    BOTTOM,
    ("problems", "measure"),
    ("curvature",),
    ("optim", "contestants"),
    ("results",),
    ("experiments",),
    ("runner", "report"),
    ("regression", "audit", "prediction"),
    ("commands", "pytest_plugin"),
    ("cli", "__main__"),
]
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def sources(folder: str) -> dict[str, Path]:
    """List modules by their dotted name."""
    base = ROOT if folder == "kfc_bench" else ROOT / "kernels"
    modules = {}
    for path in sorted((base / folder).rglob("*.py")):
        parts = path.relative_to(base).with_suffix("").parts
        if "share" not in parts:
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = sources("kfc_bench")
KERNELS = sources("kfc_kernels")


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Find what a file imports, by the longest name that is a known module, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else str(node.module) for name in names}
    return found


def part(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_every_module_has_a_place():
    assert {part(module) for module in MODULES} <= set(RANK)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    here = part(module)
    for other in imports(MODULES[module], MODULES):
        if other.partition(".")[0] != "kfc_bench" or part(other) == here:
            continue
        assert RANK[part(other)] <= RANK[here], f"{module} imports {other}"
        assert part(other) in BOTTOM or RANK[part(other)] < RANK[here], f"{module} imports its neighbour {other}"


@pytest.mark.parametrize("known", [MODULES, KERNELS], ids=["kfc_bench", "kfc_kernels"])
def test_no_import_goes_in_circles(known):
    graph = {module: imports(path, known) & set(known) - {module} for module, path in known.items()}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", KERNELS)
def test_kernels_know_nothing_of_the_suite(module):
    assert not any(name.startswith("kfc_bench") for name in imports(KERNELS[module], KERNELS))


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) == "runner"])
def test_the_runner_knows_no_experiment_by_name(module):
    experiments = [
        path.name for path in (ROOT / "kfc_bench" / "experiments").iterdir() if (path / "__init__.py").exists()
    ]
    assert {"cost", "convergence"} <= set(experiments)
    for name in imports(MODULES[module], MODULES):
        assert not any(name.startswith(f"kfc_bench.experiments.{experiment}") for experiment in experiments)
    strings = {
        node.value for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Constant)
    }
    assert strings.isdisjoint(experiments)


@pytest.mark.parametrize("folder", ["dashboard", "suites"])
def test_what_lies_on_top_is_imported_by_nothing(folder):
    for module, path in MODULES.items():
        assert not any(name.split(".")[0] == folder for name in imports(path, MODULES)), module
