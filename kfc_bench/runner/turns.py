"""Sessions of two revisions in turn."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from kfc_bench.errors import UserError
from kfc_bench.results.bench_session import BenchSession
from kfc_bench.runner.sessions import Side

Round = tuple[BenchSession, BenchSession]
"""One session of the base and one of the head, right after one another."""


class RunSession(Protocol):
    """Runs one session, as `kfc_bench.runner.sessions.Sessions.run` does."""

    def __call__(self, side: Side, label: str, tests: Sequence[str] | None = None) -> BenchSession:
        """Run it."""


def in_turn(
    run: RunSession,
    base: Side,
    head: Side,
    label: str,
    order: random.Random,
    tests: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Round]:
    """Run rounds without end: a session of each side, in random order.

    Args:
        run: Runs a session.
        base: The revision that is compared with.
        head: The one that is judged.
        label: What the names of the sessions' files begin with.
        order: Source of the order.
        tests: Node ids to run, by name of the side; all if None.

    Yields:
        The rounds.

    Raises:
        UserError: A session did not come to its end, or ran on another device than those before.
    """
    first: BenchSession | None = None
    for number in itertools.count(1):
        taken: dict[str, BenchSession] = {}
        for side in order.sample((base, head), 2):
            taken[side.name] = run(side, f"{label}-{number:02d}", None if tests is None else tests[side.name])
            first = _same_device(first, taken[side.name], side)
        yield taken[base.name], taken[head.name]


def _device(session: BenchSession) -> str | None:
    """Name the GPU and its driver, or the CPU; None where no benchmark imported torch, which is asked for both."""
    machine = session.machine
    if machine.get("device_kind") is None:
        return None
    gpu = machine.get("gpu") or {}
    return f"{gpu['name']}, driver {machine.get('driver')}" if gpu else "the CPU"


def _same_device(first: BenchSession | None, session: BenchSession, side: Side) -> BenchSession | None:
    if _device(session) is None:
        return first
    if first is not None and _device(first) != _device(session):
        raise UserError(
            f"{side}: this session ran on {_device(session)}, those before on {_device(first)}; "
            "times of two devices are not compared"
        )
    return session
