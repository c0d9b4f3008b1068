"""Where data sets may lie, in the order in which they are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from kfc_bench.errors import UserError

VARIABLE = "KFC_BENCH_DATA"
DEBIAN = Path("/usr/share/datasets")


def fetched_folder() -> Path:
    """Return where ``kfc-bench data fetch`` puts what it fetches: beside the cache of Hugging Face's `datasets`.

    Found by the rules of `datasets` itself, whose import takes a second.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{cache}/huggingface")
    return Path(os.environ.get("HF_DATASETS_CACHE", f"{home}/datasets")).expanduser() / "kfc-bench"


def data_folder(text: str, named_by: str) -> Path:
    """Return a folder of the user's.

    Args:
        text: Its path.
        named_by: What named it, for the message.

    Returns:
        The absolute path.

    Raises:
        UserError: There is no such folder.
    """
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise UserError(f"{named_by} {text}: there is no such folder; the one that holds your data sets is needed")
    return folder.resolve()


def search_folders() -> list[Path]:
    """Return the user's folder if there is one, Debian's, and that of what was fetched.

    Raises:
        UserError: The user's folder does not exist.
    """
    named = os.environ.get(VARIABLE)
    own = [data_folder(named, f"{VARIABLE}:")] if named else []
    return [*own, DEBIAN, fetched_folder()]
