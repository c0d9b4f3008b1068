from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from kfc_bench.contestants import contestants
from kfc_bench.experiments.cost.measurement import CostMeasurement, open_case
from kfc_bench.experiments.cost.plan import parse
from kfc_bench.experiments.table import Table
from kfc_bench.measure.sources import PEERS as PEER_PACKAGES
from kfc_bench.resources import share
from tests.contestants.cases import LAYER, PEERS, PLAIN, name_of, need
from tests.experiments.cost_cases import cost_case

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "conventions.md").read_text()


def peers_cases():
    with (share("suites") / "peers.toml").open("rb") as file:
        section = {key: value for key, value in tomllib.load(file).items() if key != "kind"}
    return parse(Table(section, "peers"), "cpu").cases


@pytest.mark.parametrize("contestant", contestants().values(), ids=name_of)
def test_every_contestant_is_documented(contestant):
    documented = contestant.name.removesuffix("_api") if contestant.package else contestant.name
    assert f"`{documented}`" in DOCS


@pytest.mark.parametrize("package", dict.fromkeys(entry.package for entry in PEERS), ids=lambda package: package.module)
def test_packages_come_with_the_extra_have_a_pin_and_a_place_in_the_environment_record(package):
    assert package.distribution in PEER_PACKAGES
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(line.startswith(package.distribution) for line in project["optional-dependencies"]["peers"])
    assert f"\n{package.distribution}==" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("contestant", PEERS, ids=name_of)
def test_the_version_in_the_docs_is_the_one_installed(contestant):
    need(contestant)
    assert f"| {metadata.version(contestant.package.distribution)} |" in DOCS


def test_every_layer_of_the_suite_has_the_reference_and_the_plain_formulas():
    groups = {}
    for case in peers_cases():
        groups.setdefault(case.group, set()).add(case.implementation)
    assert len(groups) == 6
    plain = {entry.name for entry in PLAIN if entry.operator == "input_factor" and not entry.whole_pass}
    assert all({"reference", *plain} <= names for names in groups.values())


def test_the_example_in_the_docs_works(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    path = tmp_path / "unfold_bmm.py"
    path.write_text(block)
    spec = importlib.util.spec_from_file_location("unfold_bmm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (contestant,) = module.CONTESTANTS
    monkeypatch.setitem(contestants(), contestant.key, contestant)
    measurement = open_case(
        cost_case(
            operator="input_factor",
            implementation=contestant.name,
            geometry=LAYER,
        )
    )
    assert isinstance(measurement, CostMeasurement), measurement.record()
