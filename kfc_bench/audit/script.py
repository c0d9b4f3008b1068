"""The script that reproduces one cell of the audit: what is printed is what is run."""

from __future__ import annotations

import inspect
import re

from kfc_bench.audit import reference
from kfc_bench.audit.library import Library
from kfc_bench.audit.options import Option

REMARK = re.compile(r"  # (noqa|type: ignore)\S*.*$", re.MULTILINE)
"""What tells our linters something, and a reader of a script nothing."""


def _source(thing: object) -> str:
    return REMARK.sub("", inspect.getsource(thing))  # type: ignore[arg-type]


def common_lines() -> str:
    """Return what every script begins with: what float64 says of a layer, in torch alone."""
    return _source(reference)


def own_lines(library: Library, option: Option) -> str:
    """Return the lines that ask one library about one option, and print what it says beside what float64 says.

    Args:
        library: The library.
        option: The option.

    Returns:
        Python, to stand after `common_lines`.
    """
    reduced = {"inputs": "reduce", "outputs": "reduce"} if option.needs == "reduce" else {}
    states = "".join(f', {name}="{value}"' for name, value in {**library.stated(option.needs), **reduced}.items())
    arguments = library.arguments.get(option.needs, "")
    return "\n".join(
        [
            _source(library.blocks),
            "",
            "torch.manual_seed(0)",
            "torch.set_default_dtype(torch.float64)",
            *option.lines(),
            f"expected = reference(model, loss, x, labels{states})",
            f"found = {library.blocks.__name__}(model, loss, x, labels{', ' if arguments else ''}{arguments})",
            "for name, value in found.items():",
            "    error = difference(layer, value, expected[name])",
            '    print(f"{name}: {list(value.shape)} for {list(expected[name].shape)}, relative error {error:.2g}")',
            "",
        ]
    )


def script(library: Library, option: Option) -> str:
    """Return the whole script, which needs torch and the library.

    Args:
        library: The library.
        option: The option.

    Returns:
        Python.
    """
    return f"{common_lines()}\n\n{own_lines(library, option)}"
