"""The audited libraries, one small file each; none is imported before its call."""

from __future__ import annotations

from kfc_bench.audit.libraries import asdl, backpack, curvlinops, kfc_bench, kronfluence, nngeometry
from kfc_bench.audit.library import Library

LIBRARIES: dict[str, Library] = {
    module.LIBRARY.name: module.LIBRARY for module in (kfc_bench, curvlinops, backpack, nngeometry, asdl, kronfluence)
}
"""In the order of the tables, ours first."""
