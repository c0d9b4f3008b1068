"""Two revisions of any repository, compared by the benchmarks of their own pytest sessions."""
