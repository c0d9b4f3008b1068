"""The shape of one layer, as every operator and cost model sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

Size = int | Sequence[int]

PADDING_MODES = ("zeros", "circular", "reflect", "replicate")


def _per_axis(value: Size, axes: int, name: str) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes:
        raise ValueError(f"{name} {value!r} has {len(values)} entries for {axes} spatial axes")
    return values


def _sides(
    padding: Size | str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """Padding before and after each axis; ``"same"`` puts an odd total's extra pixel after, as torch does."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(f"padding 'same' needs stride 1, not {stride}")
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(f"padding {padding!r} is neither a number, nor 'same', nor 'valid'")
    return tuple((p, p) for p in _per_axis(padding, len(kernel), "padding"))


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution layer on one input size; a linear layer is its 1x1 case.

    All sizes are in elements. A linear layer has ``kernel = (1,) * len(in_size)``, with its
    leading (shared) dimensions as ``in_size``, empty for a plain ``[N, C]`` input.

    Attributes:
        in_channels: Input maps, C (the paper's J).
        out_channels: Output maps, K (the paper's I).
        in_size: Input size per spatial axis, before padding.
        kernel: Kernel size per spatial axis.
        stride: Stride per spatial axis.
        padding: Padding (before, after) each spatial axis.
        dilation: Dilation per spatial axis.
        padding_mode: One of ``zeros``, ``circular``, ``reflect``, ``replicate``.
        groups: Groups of channels that do not meet.
        bias: Whether the homogeneous coordinate is appended to each patch.
        out_size: Output size per spatial axis; computed once, as is the next.
        positions: Output positions, the paper's |T|.
    """

    in_channels: int
    out_channels: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    padding_mode: str = "zeros"
    groups: int = 1
    bias: bool = False
    out_size: tuple[int, ...] = field(init=False, repr=False, compare=False)
    positions: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the output's size, and refuse what no layer can have.

        Raises:
            ValueError: A size is not positive, channels are not divisible by groups, the padding
                mode is unknown or cannot fill the padding, or the kernel does not fit the padded map.
        """
        for name in ("in_channels", "out_channels", "groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("in_size", "kernel", "stride", "dilation"):
            if any(value < 1 for value in getattr(self, name)):
                raise ValueError(f"{name} must be at least 1 on each axis, not {getattr(self, name)}")
        if any(side < 0 for sides in self.padding for side in sides):
            raise ValueError(f"padding must not be negative: {self.padding}")
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode {self.padding_mode!r} is not one of {', '.join(PADDING_MODES)}")
        spare = {"circular": 0, "reflect": 1}.get(self.padding_mode)
        pairs = zip(self.padding, self.in_size, strict=True)
        if spare is not None and any(max(sides) > size - spare for sides, size in pairs):
            limit = "fewer pixels than" if spare else "at most the pixels of"
            raise ValueError(
                f"padding_mode {self.padding_mode!r} adds {limit} the map {self.in_size} a side, not {self.padding}"
            )
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self.in_channels} input and {self.out_channels} output channels "
                f"do not divide into {self.groups} groups"
            )
        axes = zip(self.in_size, self.padding, self.kernel, self.stride, self.dilation, strict=True)
        out_size = tuple((size + sum(sides) - d * (k - 1) - 1) // s + 1 for size, sides, k, s, d in axes)
        object.__setattr__(self, "out_size", out_size)
        object.__setattr__(self, "positions", math.prod(out_size))
        if any(size < 1 for size in out_size):
            raise ValueError(
                f"kernel {self.kernel} with dilation {self.dilation} does not fit "
                f"a map of {self.in_size} padded by {self.padding}"
            )

    @classmethod
    def conv(
        cls,
        in_channels: int,
        out_channels: int,
        in_size: Sequence[int],
        kernel: Size,
        *,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        groups: int = 1,
        bias: bool = False,
    ) -> ConvGeometry:
        """Build a geometry from the arguments of ``torch.nn.ConvNd`` and an input size.

        Args:
            in_channels: Input maps C.
            out_channels: Output maps K.
            in_size: Input size per spatial axis; its length fixes the number of axes.
            kernel: Kernel size, one number or one per axis; likewise the next three.
            stride: Stride.
            padding: Padding, or ``"same"`` or ``"valid"``.
            dilation: Dilation.
            padding_mode: What the padding holds.
            groups: Groups of channels.
            bias: Whether the layer has a bias.

        Returns:
            The geometry.

        Raises:
            ValueError: As the class, or an argument's length is not the number of axes.
        """
        axes = len(in_size)
        kernel = _per_axis(kernel, axes, "kernel")
        stride = _per_axis(stride, axes, "stride")
        dilation = _per_axis(dilation, axes, "dilation")
        return cls(
            in_channels=in_channels,
            out_channels=out_channels,
            in_size=tuple(in_size),
            kernel=kernel,
            stride=stride,
            padding=_sides(padding, kernel, stride, dilation),
            dilation=dilation,
            padding_mode=padding_mode,
            groups=groups,
            bias=bias,
        )

    @classmethod
    def linear(
        cls, in_features: int, out_features: int, *, shared: Sequence[int] = (), bias: bool = False
    ) -> ConvGeometry:
        """Build the 1x1 geometry of a linear layer.

        Args:
            in_features: C.
            out_features: K.
            shared: Sizes of the dimensions between batch and features, over which weights are shared.
            bias: Whether the layer has a bias.

        Returns:
            The geometry, for inputs laid out ``[N, C, *shared]``.
        """
        return cls.conv(in_features, out_features, shared, 1, bias=bias)

    @classmethod
    def from_module(cls, module: nn.Module, a: Tensor) -> ConvGeometry:
        """Read the geometry off a layer and its input.

        Args:
            module: ``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d`` or ``nn.Linear``.
            a: Its input: ``[N, C, *in]`` for a convolution, ``[N, *shared, C]`` for a linear layer.

        Returns:
            The geometry.

        Raises:
            TypeError: The module is of another kind.
        """
        bias = getattr(module, "bias", None) is not None
        if isinstance(module, nn.Linear):
            return cls.linear(module.in_features, module.out_features, shared=a.shape[1:-1], bias=bias)
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return cls.conv(
                module.in_channels,
                module.out_channels,
                a.shape[2:],
                module.kernel_size,
                stride=module.stride,
                padding=module.padding,
                dilation=module.dilation,
                padding_mode=module.padding_mode,
                groups=module.groups,
                bias=bias,
            )
        raise TypeError(f"no geometry for {type(module).__name__}: Conv1d, Conv2d, Conv3d and Linear have one")

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.in_size)

    @property
    def kernel_elements(self) -> int:
        """Spatial offsets of the kernel, the paper's number of Delta."""
        return math.prod(self.kernel)

    @property
    def patch_dim(self) -> int:
        """Length D of one group's patch, the homogeneous coordinate included."""
        return self.in_channels // self.groups * self.kernel_elements + self.bias

    @property
    def group_outputs(self) -> int:
        """Output channels of one group."""
        return self.out_channels // self.groups

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return self.out_channels * self.patch_dim

    def grouped(self, *shape: int) -> tuple[int, ...]:
        """Return ``shape`` with the leading group axis that results have when there is more than one group."""
        return (self.groups, *shape) if self.groups > 1 else shape

    def batch_of(self, a: Tensor) -> int:
        """Check a layer input and return its batch size N.

        Args:
            a: ``[N, C, *in]``.

        Returns:
            N.

        Raises:
            ValueError: The shape is another one, or N is 0.
        """
        if a.shape[1:] != (self.in_channels, *self.in_size) or a.shape[0] == 0:
            raise ValueError(
                f"input has shape {list(a.shape)}, but the geometry takes "
                f"[N, {self.in_channels}, *{list(self.in_size)}], N > 0"
            )
        return a.shape[0]

    def vectors_of(self, g: Tensor, batch: int | None = None) -> Tensor:
        """Check backpropagated vectors and give them their leading vector axis.

        Args:
            g: ``[N, K, *out]`` or ``[V, N, K, *out]``.
            batch: The input's N, where there is an input beside them.

        Returns:
            A view ``[V, N, K, *out]``.

        Raises:
            ValueError: The shape is another one, or N is not the input's.
        """
        stacked = g if g.ndim == self.axes + 3 else g.unsqueeze(0)
        if stacked.shape[2:] != (self.out_channels, *self.out_size) or 0 in stacked.shape:
            raise ValueError(
                f"output gradient has shape {list(g.shape)}, but the geometry takes [N, K, *out] or [V, N, K, *out] "
                f"with K = {self.out_channels}, out = {list(self.out_size)}"
            )
        if batch is not None and stacked.shape[1] != batch:
            raise ValueError(f"output gradient is of {stacked.shape[1]} examples, but the input has {batch}")
        return stacked
