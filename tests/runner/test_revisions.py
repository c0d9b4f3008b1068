from __future__ import annotations

import subprocess

import pytest

from kfc_bench.errors import UserError
from kfc_bench.runner.revisions import checked_out, commit_of, top_of


def git(top, *arguments):
    identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
    return subprocess.run(["git", *identity, *arguments], cwd=top, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    top = tmp_path / "project"
    (top / "below").mkdir(parents=True)
    git(top, "init", "--quiet")
    for text in ("old", "new"):
        (top / "below" / "file").write_text(text)
        git(top, "add", ".")
        git(top, "commit", "--quiet", "-m", text)
    (top / "below" / "file").write_text("uncommitted")
    return top


def test_a_revision_has_a_folder_until_it_is_left(repository):
    with checked_out("HEAD~1", repository) as old, checked_out("HEAD", repository) as new:
        assert ((old / "below" / "file").read_text(), (new / "below" / "file").read_text()) == ("old", "new")
        assert len(str(old)) == len(str(new))
    assert not old.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_the_same_revision_twice_has_two_folders(repository):
    with checked_out("HEAD", repository) as one, checked_out("HEAD", repository) as other:
        assert one != other


def test_the_working_tree_is_taken_as_it_is(repository):
    with checked_out(".", repository) as folder:
        assert (folder / "below" / "file").read_text() == "uncommitted"
    assert folder.exists()
    assert commit_of(".", repository) == commit_of("HEAD", repository)


@pytest.mark.parametrize("revision", ["nonesuch", "--help", "HEAD:below", ""])
def test_what_is_no_commit_is_refused(repository, revision):
    with pytest.raises(UserError, match="could not check out"), checked_out(revision, repository):
        pass


def test_a_shallow_clone_is_named_as_the_reason(repository, tmp_path):
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", "shallow")
    with pytest.raises(UserError, match="this clone is shallow: fetch all of it"):
        commit_of("HEAD^1", tmp_path / "shallow")


def test_the_top_is_found_from_below(repository, tmp_path):
    assert top_of(repository / "below") == repository.resolve()
    assert top_of(tmp_path) is None
