"""KFC Bench: what each Fisher approximation costs, how close it is, and whether it trains faster than SGD."""

__version__ = "0.1.0"
