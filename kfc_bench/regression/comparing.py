"""From two revisions' names to what their benchmarks came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from kfc_bench.errors import UserError
from kfc_bench.regression.confirmation import Regression
from kfc_bench.regression.outputs import SESSIONS, changed_files, machine_of, throttled_in
from kfc_bench.regression.request import Request
from kfc_bench.report.comment import Setting
from kfc_bench.report.regression import Outcome, Round
from kfc_bench.report.verdicts import Policy
from kfc_bench.runner.revisions import WORKING_TREE, checked_out, commit_of, top_of
from kfc_bench.runner.sessions import Sessions, Side, prepare


def compare(
    request: Request, policies: Sequence[Policy], say: Callable[[str], None]
) -> tuple[Outcome, list[Round], Setting]:
    """Check both revisions out, measure them in turn, judge.

    The revisions' folders are like the one that the command is called in: a project may lie below a repository's top.

    Args:
        request: What is asked for.
        policies: Its policies.
        say: Takes a line about the progress.

    Returns:
        The outcome, the rounds of the first comparison, and what a comment says of how they were made.

    Raises:
        UserError: It cannot be done, or nothing has a time.
    """
    here = Path.cwd().resolve()
    top = top_of(here)
    if top is None:
        raise UserError(f"{here}: not a git checkout; call it in the one whose revisions are to be compared")
    below = here.relative_to(top.resolve())
    if not request.paths and not (here / "kfc_bench").is_dir():
        raise UserError("name your bench files or folders, such as: kfc-bench regression main . benchmarks")
    for path in request.paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise UserError(f"{path}: each revision runs its own files, so name them below {here}")
    sessions = Sessions(
        paths=request.paths,
        options=request.options,
        imports=request.imports,
        seconds=request.seconds,
        out=request.out / SESSIONS,
        timeout_s=request.timeout_s,
    )
    with ExitStack() as stack:
        sides = []
        for name, revision in (("base", request.base), ("head", request.head)):
            folder = stack.enter_context(checked_out(revision, top)) / below
            sides.append(Side(name, revision, commit_of(revision, top), folder))
        for side in sides if request.prepare else ():
            prepare(side, str(request.prepare), request.timeout_s)
        base, head = sides
        for path in request.paths:
            if not base.has(path) and not head.has(path):
                raise UserError(f"{path}: neither {base} nor {head} has it; name files or folders below {here}")
        regression = Regression(
            sessions.run, base, head, request.sessions, policies, tolerance=request.tolerance, say=say
        )
        outcome, rounds = regression.measured()
        changed = changed_files(rounds, base, head)
    if not outcome.first.differences and not outcome.first.new:
        reasons = "; ".join(dict.fromkeys(outcome.first.untimed.values()))
        raise UserError(f"no benchmark has a time in {request.base} or {request.head}: {reasons}")
    heads_name, again = head.commit, request.command(base.commit, head.commit)
    if request.head == WORKING_TREE:
        heads_name, again = f"{head.commit} with changes", request.command(base.commit, WORKING_TREE)
    else:
        again = f"git fetch origin {base.commit} {head.commit}\n{again}"
    setting = Setting(
        name=request.name,
        base=base.commit,
        head=heads_name,
        policies=request.policies,
        tolerance=request.tolerance,
        machine=machine_of(rounds),
        throttled=throttled_in(rounds),
        changed=changed,
        command=again,
    )
    return outcome, rounds, setting
