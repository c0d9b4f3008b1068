"""Which options each library gets right, refuses, or gets wrong without a word."""

import streamlit as st
from kfc_dashboard.audit import audit_file, options_of, styled
from kfc_dashboard.page import folders, offer_csv
from kfc_dashboard.provenance import escape

from kfc_bench.audit.libraries import LIBRARIES
from kfc_bench.audit.options import OPTIONS
from kfc_bench.audit.script import script
from kfc_bench.audit.table import frame, header, read_csv, torch_versions
from kfc_bench.audit.verdicts import MEANING, Verdict
from kfc_bench.errors import UserError

path = audit_file(folders()[0])
try:
    findings = read_csv(path)
except UserError as error:
    st.error(escape(error), icon=":material/error:")
    st.stop()
titles = header(findings)
if not titles:
    st.info(
        "This audit has no findings; make one with: kfc-bench audit --format csv --out FILE", icon=":material/info:"
    )
    st.stop()

st.caption(
    "One layer with one option, in float64: the Fisher block that each library makes of it, beside the one that "
    "follows from the layer's own outputs and autograd. docs/audit.md says how."
)
st.dataframe(styled(findings), width="stretch", height="content", key="matrix")
given = {finding.verdict for finding in findings}
st.caption(". ".join(f"**{verdict}**: {MEANING[verdict]}" for verdict in Verdict if verdict in given) + ".")
st.caption(escape("; ".join([*titles.values(), f"torch {torch_versions(findings)}"])))
offer_csv(frame(findings), "audit")

st.subheader("The lines behind a cell")
with st.container(horizontal=True, vertical_alignment="bottom"):
    library = st.selectbox(
        "Library", list(titles), format_func=titles.get, key="library", bind="query-params", width=260
    )
    option = st.selectbox(
        "Option",
        options_of(findings, library),
        format_func=lambda name: OPTIONS[name].title,
        key="option",
        bind="query-params",
        width=360,
    )
found = next(finding for finding in findings if (finding.library, finding.option) == (library, option))
st.markdown(f"**{escape(found.words())}**" + (f": {escape(found.detail)}" if found.detail else ""))
st.caption(escape(OPTIONS[option].asks))
if found.verdict == Verdict.NONE:
    st.stop()
st.code(script(LIBRARIES[library], OPTIONS[option]), language="python")
