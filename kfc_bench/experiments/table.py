"""Reading a TOML table strictly: every key is known, every value of its type, every message says where."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from types import UnionType
from typing import Any, TypeVar

from kfc_bench.errors import UserError

T = TypeVar("T")


class Table:
    """A TOML table whose keys are taken one by one; `done` refuses what is left.

    Args:
        values: The table.
        where: File and table name, for messages.
        fallback: A table of defaults, whose keys need not all be taken.
    """

    def __init__(self, values: Any, where: str, fallback: dict[str, Any] | None = None) -> None:
        if not isinstance(values, dict):
            raise UserError(f"{where}: a table is needed, not {values!r}")
        self.where = where
        self._values = dict(values)
        self._fallback = fallback or {}
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values or key in self._fallback

    def take(self, key: str, kind: type[T] | UnionType, default: T | None = None) -> T:
        """Take a value.

        Args:
            key: Its name.
            kind: Its type, or a union of several; an int passes for a float.
            default: Its value when absent; None makes it required.

        Returns:
            The value.

        Raises:
            UserError: It is missing or of another type.
        """
        self._taken.add(key)
        value = self._values.get(key, self._fallback.get(key, default))
        if value is None:
            raise UserError(f"{self.where}: key {key!r} is missing")
        return self._typed(key, value, kind)

    def _typed(self, key: str, value: Any, kind: type[T] | UnionType) -> T:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{self.where}: {key} = {value} must be a finite number")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            name = kind.__name__ if isinstance(kind, type) else str(kind)
            raise UserError(f"{self.where}: {key} = {value!r} must be of type {name}")
        return value

    def sweep(self, key: str, kind: type[T], default: T | None = None, *, repeats: bool = False) -> list[T]:
        """Take one value or a list of them; a list means a sweep.

        Args:
            key: Its name.
            kind: Type of each value.
            default: The one value when absent; None makes the key required.
            repeats: Whether a value may be there twice.

        Returns:
            The values, at least one.

        Raises:
            UserError: The key is missing, the list is empty or has duplicates, or a value is of another type.
        """
        self._taken.add(key)
        value: Any = self._values.get(key, self._fallback.get(key, default))
        if value is None:
            raise UserError(f"{self.where}: key {key!r} is missing")
        values = value if isinstance(value, list) else [value]
        if not values:
            raise UserError(f"{self.where}: {key} is an empty list; a sweep needs at least one value")
        typed = [self._typed(key, entry, kind) for entry in values]
        if not repeats and any(entry in typed[:index] for index, entry in enumerate(typed)):
            raise UserError(f"{self.where}: {key} = {values!r} lists a value twice")
        return typed

    def choice(self, key: str, known: Sequence[str], default: str | None = None) -> str:
        """Take one of several words.

        Args:
            key: Its name.
            known: The words.
            default: The word when absent; None makes the key required.

        Returns:
            The word.

        Raises:
            UserError: It is missing or not one of them.
        """
        value = self.take(key, str, default)
        return self.one_of(key, value, known)

    def choices(self, key: str, known: Sequence[str], default: str | None = None) -> list[str]:
        """Take one of several words or a list of them, as `sweep` and `choice`."""
        return [self.one_of(key, value, known) for value in self.sweep(key, str, default)]

    def one_of(self, key: str, value: str, known: Sequence[str]) -> str:
        """Return ``value`` if it is known, else raise a `UserError` that names the nearest."""
        if value not in known:
            raise UserError(f"{self.where}: {key} {value!r} is not one of {', '.join(known)}{nearest(value, known)}")
        return value

    def positive(self, key: str, value: T) -> T:
        """Return ``value`` if it is above zero, else raise a `UserError`."""
        if not value > 0:  # type: ignore[operator]
            raise UserError(
                f"{self.where}: {key} = {value} must be at least 1"
                if isinstance(value, int)
                else f"{self.where}: {key} = {value} must be positive"
            )
        return value

    def tables(self, key: str) -> list[Any]:
        """Take an array of tables, ``[[key]]``, at least one."""
        values = self.take(key, list)
        if not values:
            raise UserError(f"{self.where}: at least one [[{key}]] is needed")
        return values

    def done(self) -> None:
        """Refuse the keys that nothing took.

        Raises:
            UserError: There is one; the message names the nearest known key.
        """
        for key in self._values:
            if key not in self._taken:
                known = sorted(self._taken)
                raise UserError(
                    f"{self.where}: unknown key {key!r}{nearest(key, known)}; known keys: {', '.join(known)}"
                )


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint at the most similar known word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
