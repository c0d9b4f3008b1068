"""What each approximation costs."""

import streamlit as st
from kfc_dashboard.charts import MEASURES, cost_chart, describe_cost, span
from kfc_dashboard.data import cost_points, in_order, of_subject, phases_of, subjects, with_ratio
from kfc_dashboard.page import offer_csv, view, write_provenance
from kfc_dashboard.terms import MEASURE, MISSING, PHASE, RELATIVE, UNSUPPORTED, ZERO

shown = view()
results, chosen, looks = shown.results, shown.chosen, shown.looks
found = subjects(results.cost)
if not found:
    operators = "These results hold operators alone, which this page does not show; see report.md in their folder"
    nothing = "These results hold no cost records; see Convergence, or measure some with: kfc-bench run quickstart"
    st.info(nothing if results.cost.empty else operators, icon=":material/info:")
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom"):
    subject = st.selectbox(
        "Measured on",
        found,
        key="of",
        bind="query-params",
        persist_state="session",
        width=260,
        help="A network stands for its training step, a layer for the phases of its curvature.",
    )
    rows = of_subject(results.cost, subject)
    phases = phases_of(rows)
    relative = False
    if subject.startswith("network "):
        scale = st.segmented_control(
            "Scale",
            ["absolute", "relative to SGD"],
            default="absolute",
            key="scale",
            bind="query-params",
            required=True,
            persist_state="session",
        )
        relative = scale == "relative to SGD"
    else:
        phases = st.pills(
            "Phases",
            phases,
            selection_mode="multi",
            default=phases,
            key="phase",
            bind="query-params",
            persist_state="session",
        )

rows = rows[rows["approximation"].isin(chosen) & rows["phase"].isin(phases) & (rows["batch"] > 0)]
if rows.empty:
    st.info("Nothing was measured for this choice: pick other phases or approximations.", icon=":material/info:")
    st.stop()
# SGD is what the others are divided by, chosen or not.
points = cost_points(of_subject(results.cost, subject), relative=relative)
points = points[points["approximation"].isin(chosen) & points["phase"].isin(phases) & (points["batch"] > 0)]
if relative and not (points["value"] > 0).any():
    st.info("SGD's step has no result beside these, so there is nothing to be relative to.", icon=":material/info:")
    st.stop()

phases = [phase for phase in phases_of(rows) if phase in set(rows["phase"])]
st.caption(". ".join(PHASE.get(phase, phase) for phase in phases) + ".")
charts = [(measure, phase) for measure in MEASURES for phase in phases]
across = 2 if len(phases) == 1 else len(phases)
columns = [column for _ in range(0, len(charts), across) for column in st.columns(across, gap="medium")]
for (measure, phase), column in zip(charts, columns, strict=True):
    of_measure = points[points["measure"] == measure]
    crosses = of_measure.loc[of_measure["value"].isna(), "approximation"].nunique()
    ends = of_measure.loc[of_measure["value"] > 0, ["value", "low", "high"]].to_numpy().ravel()
    domain = span([*ends, *([1.0] if relative and len(ends) else [])], crosses=crosses)
    drawn = of_measure[of_measure["phase"] == phase]
    title = f"{MEASURES[measure].capitalize()} of {phase}"
    with column:
        if domain is None:
            st.info(f"No {MEASURES[measure]} was measured for {phase}.", icon=":material/info:")
            continue
        chart = cost_chart(
            drawn, looks, title=title, subject=subject, measure=measure, relative=relative, domain=domain
        )
        alt_text = describe_cost(drawn, looks, title=f"{title}, {subject}", measure=measure, relative=relative)
        st.altair_chart(chart, width="stretch", alt=alt_text, key=f"{measure}_{phase}")
explained = {
    RELATIVE: relative,
    UNSUPPORTED: not relative and (rows["status"] == "unsupported").any(),
    MISSING: points["value"].isna().any(),
    ZERO: (points["value"] == 0).any(),
}
st.caption(" ".join([*MEASURE.values(), *(words for words, needed in explained.items() if needed)]))
write_provenance()

st.subheader("The numbers")
numbers = in_order(with_ratio(rows, points) if relative else rows, list(looks))
table = numbers.assign(
    approximation=[looks[name].label for name in numbers["approximation"]],
    time_ms=numbers["time_median_s"] * 1e3,
    low_ms=numbers["time_ci_low_s"] * 1e3,
    high_ms=numbers["time_ci_high_s"] * 1e3,
    peak_mib=numbers["peak_memory_bytes"] / 2**20,
    predicted_mib=numbers["predicted_bytes"] / 2**20,
)
number = st.column_config.NumberColumn
wanted = {
    "approximation": st.column_config.TextColumn("approximation", pinned=True),
    "phase": "phase",
    "batch": number("batch", format="%d"),
    "status": st.column_config.TextColumn(
        "status", help="unsupported: predicted to need more memory than the run's limit"
    ),
    "time_ms": number("time, ms", format="%.4g", help="Median"),
    "low_ms": number("from, ms", format="%.4g", help="Lower end of the median's 95 % interval"),
    "high_ms": number("to, ms", format="%.4g", help="Upper end of the median's 95 % interval"),
    **({"time_ratio": number("time / SGD", format="%.3g")} if relative else {}),
    "peak_mib": number("peak memory, MiB", format="%.4g", help="Beyond the inputs, result included"),
    "predicted_mib": number("predicted, MiB", format="%.4g", help="What an unsupported case would need"),
    "implementation": "implementation",
    "rel_error": number(
        "relative error", format="%.1e", help="Against float64; a case above its gate is wrong and has no time"
    ),
    "samples": number("samples", format="%d"),
    "reason": "reason",
}
st.dataframe(
    table[list(wanted)], column_config=wanted, hide_index=True, width="stretch", key="cost_table", placeholder="-"
)
offer_csv(numbers, "cost")
