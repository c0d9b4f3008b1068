"""Comparison, tables and exports, from frames alone."""
