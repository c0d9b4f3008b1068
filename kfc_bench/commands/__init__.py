"""Commands of ``kfc-bench`` that fill a file of their own."""
