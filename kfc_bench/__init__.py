"""KFC Bench: what each Fisher approximation costs, how close it is, and whether it trains faster than SGD."""

import os

__version__ = "0.1.0"

FP_FUSION = "TRITON_DEFAULT_FP_FUSION"
"""Whether Triton fuses multiplications and additions: its versions differ in what they do unasked, so it is said here,
before anything of this package can import Triton. Worker processes inherit it."""

os.environ.setdefault(FP_FUSION, "1")
