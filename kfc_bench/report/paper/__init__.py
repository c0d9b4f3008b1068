"""The paper's figures and tables (Grosse & Martens 2016) beside the committed results, and what to use when."""
