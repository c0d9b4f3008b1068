"""Data sets and networks."""
