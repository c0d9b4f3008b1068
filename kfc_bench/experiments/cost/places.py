"""Where a cost sweep measures: named networks, named layers, described layers, grids of layers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from kfc_bench.errors import UserError
from kfc_bench.experiments.table import Table
from kfc_bench.problems.networks import NETWORKS, layer_geometries
from kfc_kernels import ConvGeometry

Place = tuple[str | None, str | None, ConvGeometry | None]
"""A network's name, or a layer's name and geometry."""


def networks(table: Table) -> list[Place]:
    """Read ``network``: one name or a list.

    Args:
        table: The sweep.

    Returns:
        One place per network.

    Raises:
        UserError: A name is not known.
    """
    return [(network, None, None) for network in table.choices("network", tuple(NETWORKS))]


def layers(table: Table, *, repeats: bool = False) -> list[Place]:
    """Read ``layer`` (names and descriptions), ``grid`` (every combination of its lists), or both.

    Args:
        table: The sweep.
        repeats: Whether ``layer`` may have one twice.

    Returns:
        One place per layer, in the order of the file.

    Raises:
        UserError: There is neither, a name or key is not known, or a description is no layer.
    """
    places: list[Place] = []
    if "layer" in table or "grid" not in table:
        for value in table.sweep("layer", object, repeats=repeats):
            if isinstance(value, str):
                places.append((None, value, _named(table, value)))
            else:
                geometry = _described(Table(value, f"{table.where} layer"))
                places.append((None, layer_name(geometry), geometry))
    if "grid" in table:
        grid = _grid(Table(table.take("grid", dict), f"{table.where} grid"))
        places += [(None, layer_name(geometry), geometry) for geometry in grid]
    return places


def _named(table: Table, name: str) -> ConvGeometry:
    network, _, layer = name.partition(".")
    table.one_of("layer's network", network, tuple(NETWORKS))
    geometries = layer_geometries(network)
    table.one_of(f"layer of {network}", layer, tuple(geometries))
    return geometries[layer]


def _described(table: Table) -> ConvGeometry:
    def per_axis(key: str, default: int | None = None, kind: Any = int | list) -> Any:
        value = table.take(key, kind, default)
        if isinstance(value, list) and not (value and all(type(entry) is int for entry in value)):
            raise UserError(f"{table.where}: {key} = {value!r} must be an integer, or a list of them, one per axis")
        return value

    size = per_axis("size")
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    arguments: dict[str, Any] = {
        "in_channels": table.take("in_channels", int),
        "out_channels": table.take("out_channels", int),
        "in_size": sizes,
        "kernel": per_axis("kernel"),
        "stride": per_axis("stride", 1),
        "padding": per_axis("padding", 0, int | str | list),
        "dilation": per_axis("dilation", 1),
        "padding_mode": table.take("padding_mode", str, "zeros"),
        "groups": table.take("groups", int, 1),
        "bias": table.take("bias", bool, False),
    }
    table.done()
    return _conv(table, arguments)


def _grid(table: Table) -> list[ConvGeometry]:
    """Cross the lists; input and output have equally many channels, and maps and kernels are square."""
    channels, sizes, kernels = (
        [table.positive(key, value) for value in table.sweep(key, int)] for key in ("channels", "size", "kernel")
    )
    strides = table.sweep("stride", int, 1)
    groups = table.sweep("groups", int, 1)
    padding = table.take("padding", int) if "padding" in table else None
    table.done()
    return [
        _conv(
            table,
            {
                "in_channels": width,
                "out_channels": width,
                "in_size": (size, size),
                "kernel": kernel,
                "stride": stride,
                "padding": kernel // 2 if padding is None else padding,
                "groups": grouped,
            },
        )
        for width, size, kernel, stride, grouped in product(channels, sizes, kernels, strides, groups)
    ]


def _conv(table: Table, arguments: dict[str, Any]) -> ConvGeometry:
    try:
        return ConvGeometry.conv(**arguments)
    except ValueError as error:
        raise UserError(f"{table.where}: {error}") from None


def layer_name(geometry: ConvGeometry) -> str:
    """Name a layer by what sets it apart: two that differ never share a name, for names also group what is compared.

    Args:
        geometry: The layer.

    Returns:
        Channels, map, kernel, and whatever is not stride 1, padding that keeps the map, dilation 1, one group, no bias.
    """
    size, kernel = ("x".join(map(str, values)) for values in (geometry.in_size, geometry.kernel))
    words = [f"{geometry.in_channels}->{geometry.out_channels} {size} k{kernel}"]
    words += [
        f"{name} {_per_axis(map(str, values))}"
        for name, values in (("stride", geometry.stride), ("dilation", geometry.dilation))
        if set(values) != {1}
    ]
    if geometry.padding != tuple((side // 2, side // 2) for side in geometry.kernel):
        sides = (str(low) if low == high else f"{low}+{high}" for low, high in geometry.padding)
        words.append(f"padding {_per_axis(sides)}")
    if geometry.padding_mode != "zeros":
        words.append(geometry.padding_mode)
    if geometry.groups > 1:
        words.append(f"groups {geometry.groups}")
    if geometry.bias:
        words.append("bias")
    return " ".join(words)


def _per_axis(words: Iterable[str]) -> str:
    listed = list(words)
    return listed[0] if len(set(listed)) == 1 else "x".join(listed)
