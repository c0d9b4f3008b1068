"""Git revisions, each in a folder of its own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kfc_bench.errors import UserError

WORKING_TREE = "."
"""Stands for the checkout as it is, uncommitted changes included."""


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"git cannot be run: {error.strerror}; install it, it checks both revisions out") from None


def top_of(folder: Path) -> Path | None:
    """Return the top of the checkout that a folder lies in; None if it lies in none."""
    answer = _git(folder, "rev-parse", "--show-toplevel")
    return None if answer.returncode else Path(answer.stdout.strip())


def commit_of(revision: str, repository: Path) -> str:
    """Look a revision up.

    Args:
        revision: What git takes for one; ``"."`` stands for the commit that is checked out.
        repository: A folder of the checkout.

    Returns:
        The commit's hash.

    Raises:
        UserError: Git knows no such revision.
    """
    asked = "HEAD" if revision == WORKING_TREE else revision
    found = _git(repository, "rev-parse", "--verify", "--end-of-options", f"{asked}^{{commit}}")
    if found.returncode:
        shallow = _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
        hint = "; this clone is shallow: fetch all of it (fetch-depth: 0)" if shallow else ""
        raise UserError(f"git could not check out {revision!r}: it knows no such commit{hint}")
    return found.stdout.strip()


@contextlib.contextmanager
def checked_out(revision: str, repository: Path) -> Iterator[Path]:
    """Hold a revision in a folder of its own.

    Args:
        revision: What git takes for one, or ``"."`` for the working tree.
        repository: The top of a checkout.

    Yields:
        The folder: the top itself for the working tree, else a temporary one. Their paths are of one length,
        since a longer one alone can move memory, and with it a time.

    Raises:
        UserError: Git knows no such revision, or cannot check it out.
    """
    commit = commit_of(revision, repository)
    if revision == WORKING_TREE:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="kfc-bench-") as temporary:
        folder = Path(temporary).resolve() / "checkout"
        added = _git(repository, "worktree", "add", "--detach", str(folder), commit)
        if added.returncode:
            words = added.stderr.strip().splitlines() or ["it said nothing"]
            raise UserError(f"git could not check out {revision!r}: {words[-1]}")
        try:
            yield folder
        finally:
            _git(repository, "worktree", "remove", "--force", str(folder))
