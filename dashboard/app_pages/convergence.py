"""Whether an approximation trains faster than tuned SGD."""

import streamlit as st
from kfc_dashboard.charts import convergence_chart, describe_convergence
from kfc_dashboard.data import curves, of_study, studies, target_table, targets, tuning_summary, tuning_table
from kfc_dashboard.page import offer_csv, view, with_labels, write_provenance
from kfc_dashboard.terms import CURVE, ON_EDGE, TARGET_TABLE, TUNING

shown = view()
results, chosen, looks = shown.results, shown.chosen, shown.looks
found = studies(results.trials)
if not found:
    st.info(
        "These results hold no convergence records; see Cost, or measure some with: kfc-bench run quickstart",
        icon=":material/info:",
    )
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom"):
    study = st.selectbox("Problem", found, key="problem", bind="query-params", persist_state="session", width=320)
    metric = st.segmented_control(
        "Measure", ["error", "loss"], default="error", key="measure", bind="query-params", required=True
    )
    split = st.segmented_control(
        "Data", ["test", "validation", "train"], default="test", key="split", bind="query-params", required=True
    )
    against = st.segmented_control(
        "Against", ["steps", "seconds"], default="steps", key="against", bind="query-params", required=True
    )
    logarithmic = st.pills(
        "Log axis", ["x", "y"], selection_mode="multi", default=["y"], key="log", bind="query-params"
    )

trials = of_study(results.trials, study)
trials = trials[trials["optimizer"].isin(chosen)]
if trials.empty:
    st.info("Nothing was measured for this choice: pick other optimizers.", icon=":material/info:")
    st.stop()

summary = curves(results.convergence, trials, f"{split}_{metric}")
target = targets(trials).get(metric)
if summary.empty:
    st.info("No reporting trial of this choice is in yet; its tuning trials are listed below.", icon=":material/info:")
else:
    x = "step" if against == "steps" else "seconds"
    y_title = f"{split} {metric}"
    chart = convergence_chart(
        summary,
        looks,
        subject=study,
        x=x,
        y_title=y_title,
        log_x="x" in logarithmic,
        log_y="y" in logarithmic,
        target=target,
    )
    st.altair_chart(
        chart, width="stretch", alt=describe_convergence(summary, looks, x=x, y_title=y_title), key="curves"
    )
    meaning = {"error": "**error**: share of wrong answers.", "loss": "**loss**: mean cross entropy."}[metric]
    st.caption(f"{CURVE} {meaning}")
    write_provenance()
    offer_csv(summary, "curves")

# Its ratios need SGD's trials, chosen or not.
table = target_table(of_study(results.trials, study))
table = table[table["approximation"].isin(chosen)]
number = st.column_config.NumberColumn
if not table.empty:
    goals = " and ".join(f"test {name} ≤ {value:g}" for name, value in targets(trials).items())
    st.subheader(f"Time to target: {goals}")
    wanted = {
        "approximation": st.column_config.TextColumn("optimizer", pinned=True),
        "reached": st.column_config.TextColumn("reached", help="Seeds that reached the target, of those run"),
        "seconds_to_target": number("seconds", format="%.3g"),
        "seconds_ratio": number("seconds / SGD", format="%.3g"),
        "steps_to_target": number("steps", format="%d"),
        "steps_ratio": number("steps / SGD", format="%.3g"),
        "final_test_error": number("final test error", format="%.4g", help="Median over the seeds that finished"),
        "lr": number("learning rate", format="%.3g"),
        "momentum": number("momentum", format="%.3g"),
        "damping": number("damping", format="%.3g"),
        "on_edge": st.column_config.CheckboxColumn("on edge", help=ON_EDGE),
    }
    st.dataframe(
        with_labels(table[list(wanted)], looks),
        column_config=wanted,
        hide_index=True,
        width="stretch",
        key="target_table",
        placeholder="-",
    )
    st.caption(TARGET_TABLE)
    offer_csv(table, "time_to_target")

tuning = tuning_table(trials)
if not tuning.empty:
    with st.expander("How each optimizer was tuned"):
        counts = tuning_summary(tuning)
        columns = {
            "optimizer": st.column_config.TextColumn("optimizer", pinned=True),
            "trials": "trials",
            "reached": st.column_config.NumberColumn(
                "reached", help="Trials that reached the target on validation data"
            ),
            "failed": st.column_config.NumberColumn("failed", help="Diverged, crashed or out of time"),
            "steps_to_target": number("fewest steps", format="%d", help="To the target, on validation data"),
        }
        st.dataframe(
            with_labels(counts, looks),
            column_config=columns,
            hide_index=True,
            width="stretch",
            key="tuning_counts",
            placeholder="-",
        )
        st.caption(TUNING)
        wanted = {
            "optimizer": st.column_config.TextColumn("optimizer", pinned=True),
            "best": st.column_config.CheckboxColumn("best"),
            "lr": number("learning rate", format="%.3g"),
            "momentum": number("momentum", format="%.3g"),
            "damping": number("damping", format="%.3g"),
            "status": "status",
            "steps_to_target": number("steps to target", format="%d"),
            "final_validation_error": number("final validation error", format="%.4g"),
            "reason": "reason",
        }
        st.dataframe(
            with_labels(tuning[list(wanted)], looks),
            column_config=wanted,
            hide_index=True,
            width="stretch",
            key="tuning_trials",
            placeholder="-",
        )
        offer_csv(tuning, "tuning")
