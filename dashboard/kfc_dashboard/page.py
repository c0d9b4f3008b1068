"""What every page begins and ends with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from kfc_bench.report.tables import health_line
from kfc_bench.resources import share
from kfc_bench.results.frames import Results
from kfc_dashboard.data import Loaded, approximations, load, of_run, run_ids, signature
from kfc_dashboard.looks import Look, label, looks
from kfc_dashboard.provenance import FAILED, escape, failures, provenance

_VIEW = "view"


def folders() -> tuple[list[Path], bool]:
    """Return the results folders to show.

    Returns:
        Those after ``--`` on the command line, or the committed ones if there is none; and whether they are the latter.
    """
    given = [Path(argument) for argument in sys.argv[1:] if argument != "--"]
    return (given, False) if given else ([share("results") / "cpu"], True)


@st.cache_resource(max_entries=4, show_spinner="Reading results")
def _load(paths: tuple[str, ...], files: tuple[tuple[str, int, int], ...]) -> Loaded:  # noqa: ARG001
    return load([Path(path) for path in paths])


@dataclass(frozen=True)
class View:
    """What all pages show.

    Attributes:
        results: Of the chosen run.
        run_id: Its name.
        chosen: Approximations to show.
        looks: How each approximation is drawn, chosen or not.
    """

    results: Results
    run_id: str
    chosen: list[str]
    looks: dict[str, Look]


def begin(title: str) -> None:
    """Write the title, read the results, and let a run and approximations be chosen, for all pages alike.

    Without results everything ends here. The choices belong to ``app.py``, not to a page, so they outlive a switch.

    Args:
        title: Of the page.
    """
    st.title(title)
    paths, committed = folders()
    loaded = _load(tuple(str(path) for path in paths), signature(paths))
    if committed:
        st.caption(
            "No results folder was named, so these are the committed results. Yours: `kfc-bench dashboard FOLDER`"
        )
    if loaded.results is None:
        st.error(escape(loaded.problem or "no results"), icon=":material/error:")
        st.stop()
    for note in loaded.notes:
        st.info(escape(note), icon=":material/info:")
    runs = run_ids(loaded.results)
    run_id = runs[0]
    drawn = looks(approximations(loaded.results))
    above_the_filters = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(runs) > 1:
            run_id = st.selectbox(
                "Run",
                runs,
                key="run",
                bind="query-params",
                width=260,
                help="One run is one device and one state of the code; named by the time it began, the newest first.",
            )
        chosen = st.pills(
            "Approximations",
            list(drawn),
            selection_mode="multi",
            default=list(drawn),
            format_func=label,
            key="approximation",
            bind="query-params",
        )
    results = of_run(loaded.results, run_id)
    with above_the_filters:
        health(results)
    st.session_state[_VIEW] = View(results, run_id, list(chosen), drawn)


def view() -> View:
    """Return what `begin` has chosen."""
    return st.session_state[_VIEW]


def health(results: Results) -> None:
    """Count cases and trials by status; failed ones are named.

    Args:
        results: Of one run.
    """
    suspects = int((results.cost["suspect"] == True).sum())  # noqa: E712
    line = (
        "Cases and trials: "
        + health_line(results)
        + (f"; {suspects} suspect (faster than the hardware's limit)" if suspects else "")
    )
    failed = failures(results)
    if failed.empty:
        st.caption(line)
        return
    st.warning(line, icon=":material/warning:")
    with st.expander(
        f"The {len(failed)} that failed ({', '.join(status for status in FAILED if status in set(failed['status']))})"
    ):
        st.dataframe(failed, hide_index=True, width="stretch", key="failures", placeholder="-")


def with_labels(frame: pd.DataFrame, drawn: dict[str, Look]) -> pd.DataFrame:
    """Write the approximations of a table as people do.

    Args:
        frame: With a column ``approximation`` or ``optimizer``.
        drawn: How each is drawn.

    Returns:
        The frame to show.
    """
    labels = {name: look.label for name, look in drawn.items()}
    return frame.assign(**{name: frame[name].map(labels) for name in ("approximation", "optimizer") if name in frame})


def write_provenance() -> None:
    """Write where it was measured."""
    shown = view()
    for environment in shown.results.environments.values():
        st.markdown(provenance(environment, shown.run_id))


def offer_csv(frame: pd.DataFrame, name: str) -> None:
    """Offer the shown data, in base units and with every column.

    Args:
        frame: The data.
        name: Of the file, without its ending.
    """
    st.download_button(
        f"Download {name}.csv",
        frame.to_csv(index=False, lineterminator="\n").encode(),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"csv_{name}",
    )
