"""The commands of ``kfc-bench``, one file each; `kfc_bench.cli` puts them together."""
