"""report.md: a run, for someone who knows nothing of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfc_bench.report.contests import contest_tables
from kfc_bench.report.correlation import correlation_tables
from kfc_bench.report.coverage import missing_lines, reasons_table, sections_table
from kfc_bench.report.fidelity import fidelity_tables
from kfc_bench.report.files import write_text
from kfc_bench.report.inverses import family_table, refresh_table
from kfc_bench.report.lead import lead_tables
from kfc_bench.report.machine import ceilings_table, environment_table
from kfc_bench.report.names import APPROXIMATIONS, has_peers, is_whole_pass
from kfc_bench.report.operators import LEAST_VISITS, correctness_table, operator_tables
from kfc_bench.report.performance_profile import profile_table
from kfc_bench.report.profiles import steps_table
from kfc_bench.report.tables import (
    TextTable,
    comparison_table,
    cost_table,
    device_badge,
    feasible_table,
    health_line,
)
from kfc_bench.report.target_tables import epoch_table, target_tables
from kfc_bench.report.tuning import HYPERPARAMETERS, budget_table, chosen_table, sensitivity_table
from kfc_bench.report.units import seconds
from kfc_bench.results.frames import Results
from kfc_bench.results.run import JOURNAL, Run
from kfc_bench.results.session import Session, read_session

REPORT = "report.md"

INTRODUCTION = """\
KFC Bench measures what second-order optimization costs. Training a network by natural gradient needs the Fisher matrix,
which is too large to form, so approximations of it (KFC's Kronecker factors, its diagonal, its blocks) are computed
instead, by small programs ("operators"), several of which compute the same thing ("implementations")."""

READING = """\
Every result was first held against the same computation in float64; only what passed was timed. A time is the median
over visits: short bursts of calls, in turn with everything it is compared with, so that a drift of the machine hits
all alike; the interval beside it holds the true median in 95 of 100 cases. "Against fastest other" is the time of the
fastest other implementation of the same case over this one's: 2x is twice as fast, 0.5x half as fast. "Of the limit" is
how much of the best possible speed was reached, by the ceilings that this device was seen to reach in this run.
"Memory" is what a call allocates at its peak beyond its inputs. `unsupported` is not a fault: the case was predicted
not to fit, or the implementation does not take it. The file `docs/method.md` of KFC Bench says how each number is made,
and what it cannot say."""

PLAIN = """\
No other library was measured in this run. Where one would stand, the plain formula does, marked so: what such
libraries compute, without their surroundings."""

WHOLE_PASSES = """\
A whole pass is a library called as its users call it: forward, backward and every factor of the layer. Such passes are
compared among themselves."""

TRAINING = """\
A step is one update of a network's weights; "step / SGD" is its time beside plain stochastic gradient descent's on the
same network, so 1.5x costs half as much again. What a step gains shows in training runs: how many steps, and how many
seconds, until the target was met, as medians over seeds that no tuning saw."""

TARGETS = """\
Numbers are medians over seeds; a run that never met the target, or diverged, stands at infinity. "Against SGD" is SGD's
time over an optimizer's own, seed by seed: the geometric mean, and the interval that holds the true one in 95 of 100
cases. "Faster" means that it gets there in less time; "unclear", that the interval holds 1x. Where runs of one side
ended without the target, their whole length stands for the time they would have taken at least, which gives a bound
instead of an interval; where a run diverged there is no number. A profile counts how often an optimizer is the best, or
within so many times the best; its area is the share of 1x to 4x that lies below it, AlgoPerf's score. The paper held an
epoch of KFC below twice SGD's."""

TUNING = """\
Every optimizer was tuned with the same number of trials on validation data; the report's seeds took no part. "(edge)"
marks an optimizer whose best values lie at the end of what was tried, so that better ones may lie beyond; "(best
tried)" one of which no trial is in the report. Each value
below stands for the best trial that had it: where its neighbours are nearly as good, the optimizer is easy to tune."""

PROFILES = """\
Each phase was timed inside of whole steps. "Parts / step" is what the phases add up to, beside the same step as nobody
timed its phases; where it is not within 5 % the step is marked SUSPECT, and its parts are not to be relied on."""

PHASES = """\
An approximation works in three phases, each at its own pace: accumulate gathers statistics from a batch, refresh
inverts them, precondition multiplies a gradient with the inverse."""

SIZES = """\
A layer counts at a batch where every phase ran. "Too large" and "too slow" count the layers and batches that broke the
suite's limits on memory and time, almost all of them by prediction, without being tried."""

INVERSES = """\
An inverse X of a damped matrix A is as exact as its residual is small: the norm of I - AX over the root of its size.
Nothing is refused for being inexact here, that is what is measured. "More damping" counts matrices that were not
positive definite in this precision, and were damped with more than was asked. Newton's iteration starts warm from the
inverse of the refresh before, or cold."""

FIDELITY = """\
On small networks the Fisher matrix itself was formed, in float64, and every approximation written out beside it. `iad`,
`iad_sh` and those with `plugin` exist only here: KFC's assumptions, one after the other. Errors and divergences are 0
where an approximation is exact; traces, cosines and decreases are 1. A decrease is what a step of equal size gains, as
a share of what the exact matrix's step gains. `docs/method.md` defines each."""

CORRELATIONS = """\
KFC takes derivatives at different positions to be uncorrelated, which the paper checks in its Figs. 3 and 4 on trained
networks. 0 is uncorrelated, 1 the same but for a factor. "Neighbours" to "all up to 6" compare a map with itself some
positions away, means over all maps; "across maps" compares two maps at one position. Pooling by a maximum lets few
derivatives through, and so keeps them apart; pooling by an average spreads them."""

CEILINGS = """\
The best speed that this device was seen to reach in this run, over large products and over reads of memory: what "of
the limit" is measured against."""


def _section(title: str, *parts: TextTable | str | None, about: str = "") -> str:
    """Write a heading, what it is about and what is below it; nothing where there is nothing below."""
    texts = [part if isinstance(part, str) else part.to_markdown().rstrip() for part in parts if part]
    return "\n\n".join(filter(None, [f"## {title}", about, *texts])) if texts else ""


def _opening(results: Results, environment: dict[str, Any], session: Session | None) -> str:
    badge = device_badge(results) or environment["device"]
    title = "KFC Bench" if session is None else f"KFC Bench: {session.suite}"
    variant = f", variant {session.variant}" if session is not None and session.variant else ""
    lines = [f"# {title}{variant}", f"Measured on **{badge}**."]
    if environment["device_kind"] == "cpu":
        lines.append(
            "**CPU measurements: they say nothing of a GPU.** What needs one is marked `unsupported` and was not timed."
        )
    return "\n\n".join([*lines, INTRODUCTION])


def _whole(results: Results, session: Session | None) -> str:
    sentences = [f"Cases by outcome: {health_line(results)}."]
    if session is not None:
        sentences.insert(0, f"Begun {session.began} UTC; it took {seconds(session.seconds)} of measuring in all.")
    return " ".join(sentences)


def _reproducing(environment: dict[str, Any], session: Session | None) -> str:
    command = session.command if session is not None and session.command else "kfc-bench run SUITE"
    commit = environment.get("commit")
    version = (environment.get("packages") or {}).get("kfc-bench")
    source = f"commit `{commit}` of KFC Bench" if commit else f"KFC Bench {version}" if version else "KFC Bench"
    return (
        f"With {source}, on such a device:\n\n```\n{command}\n```\n\n"
        f"The records are in `{environment['run_id']}/{JOURNAL}`, one line a case. `kfc-bench report FOLDER` writes "
        "this report from them anew, `kfc-bench export FOLDER` tables for other programs."
    )


def render(results: Results, environment: dict[str, Any], session: Session | None) -> str:
    """Write the report; its tables come from the records alone.

    Args:
        results: One run's records.
        environment: Its environment.
        session: What was asked for, if known.

    Returns:
        Markdown.
    """
    cost = results.cost
    approximations = [name for name in APPROXIMATIONS if name in set(cost["approximation"])]
    operators, contests = operator_tables(results), contest_tables(results)
    timed = cost[cost["operator"].notna() & (cost["status"] == "ok")]
    few = int((timed["visits"] < LEAST_VISITS).sum())
    names = list(timed["implementation"])
    remarks = [
        f"Operator cases that were visited fewer than {LEAST_VISITS} times are checked, not timed: {few}."
        if few
        else "",
        PLAIN if operators and not has_peers(names) else "",
        WHOLE_PASSES if any(map(is_whole_pass, names)) else "",
    ]
    parts = [
        _opening(results, environment, session),
        _section("What was run", _whole(results, session), sections_table(results, session)),
        _section("How to read it", READING),
        _section("Correctness on this device", correctness_table(results)),
        _section("Operators", *lead_tables(results), *contests, *operators, about="\n\n".join(filter(None, remarks))),
        _section("Training: the cost of a step, and what it gains", comparison_table(results), about=TRAINING),
        _section(
            "The way to the target",
            *target_tables(results),
            profile_table(results),
            epoch_table(results),
            about=TARGETS,
        ),
        _section(
            "Tuning",
            chosen_table(results),
            *(sensitivity_table(results, name) for name in HYPERPARAMETERS),
            budget_table(results),
            about=TUNING,
        ),
        _section("Where a step's time goes", steps_table(results), about=PROFILES),
        _section("Phases of each approximation", cost_table(results, approximations), about=PHASES),
        _section("How large a layer can be", feasible_table(results), about=SIZES),
        _section("Damped inverses", family_table(results), refresh_table(results), about=INVERSES),
        _section("How close each approximation is to the exact Fisher", *fidelity_tables(results), about=FIDELITY),
        _section("How derivatives and activations correlate", *correlation_tables(results), about=CORRELATIONS),
        _section("Limits of this device", ceilings_table(results, environment), about=CEILINGS),
        _section("What did not run, and why", reasons_table(results)),
        _section("What is missing", *missing_lines(session)),
        _section("Environment", environment_table(results, environment)),
        _section("How to reproduce it", _reproducing(environment, session)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(run: Run, results: Results, path: Path) -> None:
    """Write a run's report.

    Args:
        run: The run.
        results: Its records.
        path: The file.

    Raises:
        UserError: The run's session cannot be read or the file cannot be written.
    """
    write_text(render(results, run.environment, read_session(run.folder)), path)
