"""The dashboard: ``kfc-bench dashboard FOLDER ...``, or ``streamlit run dashboard/app.py -- FOLDER ...``."""

import streamlit as st
from kfc_dashboard.page import begin

# Without icons: streamlit fetches a page's icon from the network, to be its favicon.
st.set_page_config(page_title="KFC Bench", layout="wide")
audit = st.Page("app_pages/audit.py", title="Audit")
page = st.navigation(
    [
        st.Page("app_pages/cost.py", title="Cost", default=True),
        st.Page("app_pages/convergence.py", title="Convergence"),
        audit,
    ],
    position="top",
)
# The audit measures nothing, so it has no run and no approximations to choose from.
if page == audit:
    st.title(page.title)
else:
    begin(page.title)
page.run()
