"""Finding and reading suite files."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.experiments import EXPERIMENTS, Plan
from kfc_bench.experiments.table import Table, nearest
from kfc_bench.measure.environment import resolve_device
from kfc_bench.resources import share

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Section:
    """A part of a suite file: one kind of experiment, planned.

    Attributes:
        name: Its name, for records and progress.
        kind: A key of `EXPERIMENTS`.
        plan: Its cases.
    """

    name: str
    kind: str
    plan: Plan


@dataclass(frozen=True)
class Suite:
    """A suite file, validated before anything is measured.

    Attributes:
        name: The file's name.
        device: ``"cpu"`` or ``"cuda"``.
        sections: Those that run: all without a variant, and those of the chosen one.
        variant: The chosen variant; None where the file has none.
        time_limit_s: Seconds after which nothing new begins; None for no limit.
    """

    name: str
    device: str
    sections: tuple[Section, ...]
    variant: str | None = None
    time_limit_s: float | None = None


def find_suite(name: str) -> Path:
    """Find a suite file.

    Args:
        name: A path, or the name of a suite that comes with KFC Bench.

    Returns:
        Its path.

    Raises:
        UserError: There is none.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.parent != Path():
        if not path.is_file():
            raise UserError(f"{path}: no such suite file; the suites that come along: {', '.join(_known())}")
        return path
    shipped = share("suites") / f"{name}.toml"
    if not shipped.is_file():
        raise UserError(
            f"no suite {name!r}{nearest(name, _known())}; there are: {', '.join(_known())}; "
            "a file of your own ends in .toml"
        )
    return shipped


def _known() -> list[str]:
    return sorted(path.stem for path in share("suites").glob("*.toml"))


def load_suite(path: Path, device: str | None, variant: str | None = None) -> Suite:
    """Read a suite file: one experiment, or several as ``[[section]]``.

    Args:
        path: The file.
        device: Overrides the file's device; None leaves it.
        variant: Which variant's sections run beside those without one; None for the variant named like the device,
            or else the first in the file. Sections of other variants are not read further.

    Returns:
        The suite.

    Raises:
        UserError: The file cannot be read, is not TOML, has a key or value that is not known, has no such variant, or
            needs a device that is absent.
    """
    values = _read(path)
    return _plan(path, values, resolve_device(device or _device(path, values)), variant)


def suites_by_device(path: Path) -> dict[str, Suite]:
    """Read a suite file for every device that it is for, those that this machine lacks included.

    Args:
        path: The file.

    Returns:
        The suite for ``"cpu"`` and for ``"cuda"``, or for the one of them that the file names.

    Raises:
        UserError: The file cannot be read, is not TOML, or has a key or value that is not known.
    """
    values = _read(path)
    device = _device(path, values)
    return {one: _plan(path, values, one) for one in (DEVICES[1:] if device == "auto" else (device,))}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _device(path: Path, values: dict[str, Any]) -> str:
    return Table(values, str(path)).choice("device", DEVICES, "auto")


def _plan(path: Path, values: dict[str, Any], device: str, variant: str | None = None) -> Suite:
    whole = Table(values, str(path))
    whole.choice("device", DEVICES, "auto")
    limit = whole.positive("time_limit_s", whole.take("time_limit_s", float)) if "time_limit_s" in whole else None
    if "section" not in values:
        _choose_variant(path, [], device, variant)
        only = {key: value for key, value in values.items() if key not in ("device", "time_limit_s")}
        return Suite(path.stem, device, (_section(Table(only, str(path)), path.stem, device),), None, limit)
    tables = [Table(entry, f"{path} [[section]] {index}") for index, entry in enumerate(whole.tables("section"), 1)]
    whole.done()
    variants = [table.take("variant", str) if "variant" in table else None for table in tables]
    chosen = _choose_variant(path, variants, device, variant)
    sections = tuple(
        _section(table, f"section {index}", device)
        for index, (table, own) in enumerate(zip(tables, variants, strict=True), start=1)
        if own in (None, chosen)
    )
    names = [section.name for section in sections]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two sections have the same name: {', '.join(names)}")
    return Suite(path.stem, device, sections, chosen, limit)


def _choose_variant(path: Path, of_sections: Sequence[str | None], device: str, asked: str | None) -> str | None:
    known = list(dict.fromkeys(name for name in of_sections if name is not None))
    if asked is None:
        return device if device in known else known[0] if known else None
    if asked not in known:
        there = f"there are: {', '.join(known)}" if known else "it has none"
        raise UserError(f"{path}: no variant {asked!r}{nearest(asked, known)}; {there}")
    return asked


def _section(table: Table, name: str, device: str) -> Section:
    kind = table.choice("kind", tuple(EXPERIMENTS))
    named = table.take("name", str, name)
    return Section(named, kind, EXPERIMENTS[kind].parse(table, device))
