"""The commands of `kfc-bench` that have a file of their own."""
