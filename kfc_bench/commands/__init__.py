"""Commands of ``kfc-bench`` that have a file of their own; `kfc_bench.cli` names them."""
