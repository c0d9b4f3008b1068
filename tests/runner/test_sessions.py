"""One session of pytest, run for real on a folder of bench files."""

from __future__ import annotations

import os
import textwrap

import pytest

from kfc_bench.errors import UserError
from kfc_bench.results.bench_session import BenchSession
from kfc_bench.runner.sessions import Sessions, Side, prepare

BENCHES = """
import pytest, ours

@pytest.mark.parametrize("what", ["a", "b::c/d.py", "e[f|g]"])
def test_named(benchmark, what):
    benchmark(ours.work)

class TestMany:
    class TestWithin:
        def test_one(self, benchmark):
            benchmark(ours.work)

def test_wrong_after_its_time(benchmark):
    benchmark(ours.work)
    assert ours.work() == 0, "not <0> & more"

def test_absent(benchmark):
    pytest.skip("torch sees no CUDA device here")

@pytest.fixture
def broken():
    raise OSError("no such thing")

def test_without_its_fixture(benchmark, broken):
    benchmark(ours.work)

def test_that_is_no_benchmark():
    raise AssertionError
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Leave out what takes a second to import; sessions below are none of this one's workers."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:anyio -p no:hypothesispytest")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)


def side(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_suffix(".py") if not path.suffix else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return Side("head", "HEAD", "c0ffee", folder)


def put(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


OURS = "def work():\n    return sum(range(100))\n"


def sessions(out, *paths, **own):
    own = {"options": (), "imports": (".",), "seconds": 0.005, "timeout_s": 60.0, **own}
    return Sessions(paths=paths, out=out, **own)


def test_a_session_says_what_became_of_every_benchmark(tmp_path):
    one = side(tmp_path / "a", benches__bench_it=BENCHES, ours=OURS)
    session = sessions(tmp_path / "out", "benches").run(one, "first-01")
    file = "benches/bench_it.py::"
    assert set(session.times) == {
        f"{file}test_named[a]",
        f"{file}test_named[b::c/d.py]",
        f"{file}test_named[e[f|g]]",
        f"{file}TestMany::TestWithin::test_one",
    }
    assert all(0 < median < 1e-3 for median in session.times.values())
    assert session.skipped == {f"{file}test_absent": "torch sees no CUDA device here"}
    assert "not <0> & more" in session.failed[f"{file}test_wrong_after_its_time"]
    assert "no such thing" in session.failed[f"{file}test_without_its_fixture"]
    assert set(session.failed) | set(session.times) | set(session.skipped) == session.tests
    assert f"{file}test_that_is_no_benchmark" not in session.tests
    assert session.machine["device"]
    assert session.throttled is None
    again = sessions(tmp_path / "out", "benches").run(one, "second-01", [f"{file}test_named[b::c/d.py]"])
    assert set(again.times) == {f"{file}test_named[b::c/d.py]"}


def test_what_a_project_turned_on_for_its_tests_spoils_no_time(tmp_path):
    options = "[pytest]\naddopts = -n 2 --benchmark-disable\npython_files = check_*.py\n"
    plain = "import ours\ndef test_work(benchmark):\n    benchmark(ours.work)\n"
    one = side(tmp_path / "a", bench_it=plain, ours=OURS)
    (one.folder / "pytest.ini").write_text(options)
    assert set(sessions(tmp_path / "out", "bench_it.py").run(one, "first-01").times) == {"bench_it.py::test_work"}


def test_a_file_that_does_not_import_is_named_with_pytest_s_last_words(tmp_path):
    one = side(tmp_path / "a", bench_it="import nowhere_at_all\n")
    with pytest.raises(UserError) as refused:
        sessions(tmp_path / "out", ".").run(one, "first-01")
    assert str(refused.value).startswith("head (HEAD): pytest ended with exit code 2: ")
    assert "ERROR bench_it.py" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert "nowhere_at_all" in (tmp_path / "out" / "first-01-head.log").read_text()


def test_an_installed_copy_is_not_taken_for_the_revision_s(tmp_path, monkeypatch):
    """The package lies in a folder that imports do not come from, and another copy of it is installed."""
    elsewhere = side(tmp_path / "installed", ours=OURS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(elsewhere.folder), os.environ.get("PYTHONPATH", "")]))
    plain = "import ours\ndef test_work(benchmark):\n    benchmark(ours.work)\n"
    one = side(tmp_path / "a", bench_it=plain, python__ours=OURS)
    with pytest.raises(UserError, match=r"installed/ours.py was measured, not python/ours.py .* --import-from"):
        sessions(tmp_path / "out", "bench_it.py").run(one, "first-01")
    found = sessions(tmp_path / "out", "bench_it.py", imports=("python",)).run(one, "first-02")
    assert found.imported["ours"] == str(one.folder / "python" / "ours.py")


def test_what_an_import_could_not_find_is_no_copy_of_what_was_measured(tmp_path, monkeypatch):
    """Submodules, scripts' ``__main__`` and other repositories inside bear the names of what is installed."""
    elsewhere = side(tmp_path / "installed", ours=OURS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(elsewhere.folder), os.environ.get("PYTHONPATH", "")]))
    plain = "import ours\ndef test_work(benchmark):\n    benchmark(ours.work)\n"
    one = side(tmp_path / "a", bench_it=plain)
    put(one.folder, "mypkg/__init__.py", "mypkg/ours.py", "mypkg/data/ours.py", "tools/__main__.py")
    put(one.folder, "third/it/.git", "third/it/python/ours.py")
    assert sessions(tmp_path / "out", "bench_it.py").run(one, "first-01").times


@pytest.mark.parametrize("place", ["ours", "a/ours", "a/b/ours", "a/b/c/ours"])
@pytest.mark.parametrize("kind", [".py", "/__init__.py"])
def test_copies_are_found_in_deeper_folders_too(tmp_path, place, kind):
    one = side(tmp_path / "a")
    put(one.folder, place + kind)
    measured = BenchSession(imported={"ours": "/installed/ours.py"})
    with pytest.raises(UserError, match=f"not {place}{kind} of this revision"):
        sessions(tmp_path / "out")._measured_its_own(one, measured)
    sessions(tmp_path / "out")._measured_its_own(one, BenchSession(imported={"others": "/installed/others.py"}))


def test_an_inherited_benchmark_bears_the_node_id_of_its_own_file(tmp_path):
    shared = """
        import pytest
        class Shared:
            def test_it(self, benchmark):
                benchmark(sum, range(100))
                assert self.right
            def test_off(self, benchmark):
                pytest.skip("not here")
    """
    own = """
        import shared
        class TestGood(shared.Shared):
            right = True
        class TestBad(shared.Shared):
            right = False
    """
    one = side(tmp_path / "a", shared=shared, benches__bench_it=own)
    session = sessions(tmp_path / "out", "benches").run(one, "first-01")
    file = "benches/bench_it.py::"
    assert set(session.times) == {f"{file}TestGood::test_it"}
    assert set(session.failed) == {f"{file}TestBad::test_it"}
    assert set(session.skipped) == {f"{file}TestGood::test_off", f"{file}TestBad::test_off"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    one = side(tmp_path / "a", bench_it="")
    with pytest.raises(UserError, match=r"out: File exists; name another folder with --out"):
        sessions(tmp_path / "out", "bench_it.py").run(one, "first-01")
    (tmp_path / "kept" / "first-01-head.log").mkdir(parents=True)
    with pytest.raises(UserError, match=r"kept: .*; name another folder with --out"):
        sessions(tmp_path / "kept", "bench_it.py").run(one, "first-01")


def test_a_side_without_the_files_has_no_benchmark(tmp_path):
    empty, plain = side(tmp_path / "a"), side(tmp_path / "b", test_it="def test_plain():\n    pass\n")
    assert not sessions(tmp_path / "out", "benches").run(empty, "first-01").tests
    assert not sessions(tmp_path / "out", "benches").run(empty, "second-01", []).tests
    assert not (tmp_path / "out").exists(), "nothing was run"
    assert not sessions(tmp_path / "out", ".").run(plain, "first-02").tests


def test_a_session_that_hangs_is_ended(tmp_path):
    hangs = "import time\ndef test_it(benchmark):\n    time.sleep(60)\n"
    with pytest.raises(UserError, match=r"longer than 2 s, --timeout's limit"):
        sessions(tmp_path / "out", ".", timeout_s=2.0).run(side(tmp_path / "a", bench_it=hangs), "first-01")


def test_what_prepares_a_checkout_runs_in_it_and_says_why_it_fails(tmp_path):
    one = side(tmp_path / "a")
    prepare(one, "echo made > made", 60.0)
    assert (one.folder / "made").read_text() == "made\n"
    with pytest.raises(UserError, match=r"head \(HEAD\): --prepare ended with exit code 3: no compiler"):
        prepare(one, "echo no compiler >&2; exit 3", 60.0)
    with pytest.raises(UserError, match=r"--prepare took longer than 0.1 s"):
        prepare(one, "exec sleep 5", 0.1)
