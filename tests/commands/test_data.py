"""``kfc-bench data``, and ``kfc-bench run --data``."""

from __future__ import annotations

import os

import pytest
from typer.testing import CliRunner

from kfc_bench.cli import app
from kfc_bench.commands.run import run
from kfc_bench.errors import UserError
from kfc_bench.problems import places, published
from kfc_bench.problems.hub import HubSet
from kfc_bench.problems.places import VARIABLE
from tests.helpers import assert_refused, cli
from tests.problems.small_sets import SMALL


def typed(*words):
    return CliRunner().invoke(app, ["data", *words], catch_exceptions=False)


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    """Put small data sets in the place of the published ones, in folders of the test."""
    monkeypatch.setattr(places, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    sets = {name: SMALL[kind]().data_set(name) for name, kind in (("fashion", "idx"), ("svhn", "mat"))}
    monkeypatch.setattr(published, "DATA_SETS", sets)


def test_each_set_has_a_line(tmp_path):
    SMALL["idx"]().write(tmp_path / "fashion-mnist")
    done = typed()
    assert done.exit_code == 0
    digits, fashion, svhn = done.stdout.splitlines()
    assert digits == "digits: comes along; 1,797 images"
    place = tmp_path / "fashion-mnist"
    assert fashion == f"fashion: {place}; IDX; 30 + 10 images; checksums of 4 files agree"
    assert svhn.startswith("svhn: not here; a page in words, into a folder that KFC_BENCH_DATA names;")
    assert svhn.endswith("or kfc-bench data fetch svhn")


def test_files_that_are_not_those_are_said_to_be_so(tmp_path):
    small = SMALL["mat"]()
    small.write(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(b"hello")
    line = typed().stdout.splitlines()[-1]
    assert f"NOT USABLE: {tmp_path / 'test_32x32.mat'}: md5 is 5d41402abc4b2a76b9719d911017c592, but" in line


def test_one_is_fetched_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(HubSet, "fetch", lambda self, root: root / self.name)
    done = typed("fetch", "svhn")
    assert done.stdout == f"fetched svhn into {tmp_path / 'hub' / 'kfc-bench' / 'svhn'}\n"


def test_a_set_that_is_not_there_to_fetch():
    with pytest.raises(UserError, match="data fetch mnist: no such data set to fetch; there are fashion, svhn"):
        typed("fetch", "mnist")


def test_the_command_line_knows_it(tmp_path):
    assert_refused(cli("data", "fetch", "mnist", cwd=tmp_path), "data fetch mnist: no such data set to fetch")


def test_run_hands_the_folder_to_its_workers(tmp_path):
    (tmp_path / "sets").mkdir()
    run("quickstart", data=str(tmp_path / "sets"), filters=["operator=none"], list_cases=True)
    assert os.environ[VARIABLE] == str(tmp_path / "sets")


def test_run_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="--data nope: there is no such folder"):
        run("quickstart", data="nope", results=tmp_path / "results")
    assert not (tmp_path / "results").exists()
