"""Finding and reading suite files."""

from __future__ import annotations

import tomllib
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
    """A suite file, validated whole before anything is measured."""

    name: str
    device: str
    sections: tuple[Section, ...]


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


def load_suite(path: Path, device: str | None) -> Suite:
    """Read a suite file: one experiment, or several as ``[[section]]``.

    Args:
        path: The file.
        device: Overrides the file's device; None leaves it.

    Returns:
        The suite.

    Raises:
        UserError: The file cannot be read, is not TOML, has a key or value that is not known, or needs a device that
            is absent.
    """
    values = _read(path)
    return _plan(path, values, resolve_device(device or _device(path, values)))


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


def _plan(path: Path, values: dict[str, Any], device: str) -> Suite:
    if "section" not in values:
        only = {key: value for key, value in values.items() if key != "device"}
        return Suite(path.stem, device, (_section(only, str(path), path.stem, device),))
    whole = Table(values, str(path))
    whole.choice("device", DEVICES, "auto")
    tables = whole.tables("section")
    whole.done()
    sections = tuple(
        _section(table, f"{path} [[section]] {index}", f"section {index}", device)
        for index, table in enumerate(tables, start=1)
    )
    names = [section.name for section in sections]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two sections have the same name: {', '.join(names)}")
    return Suite(path.stem, device, sections)


def _section(values: Any, where: str, name: str, device: str) -> Section:
    table = Table(values, where)
    kind = table.choice("kind", tuple(EXPERIMENTS))
    named = table.take("name", str, name)
    return Section(named, kind, EXPERIMENTS[kind].parse(table, device))
