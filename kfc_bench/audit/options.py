"""The options that are audited: one small layer for each."""

from __future__ import annotations

from dataclasses import dataclass

CROSS_ENTROPY = "nn.CrossEntropyLoss()"
CLASSES = "torch.arange(5) % 3"
TARGETS = "torch.randn(5, 3)"
IMAGES, TOKENS = (5, 4, 7, 6), (5, 7, 4)


@dataclass(frozen=True)
class Option:
    """One option, and the lines that put a layer with it into a small network of three outputs.

    Attributes:
        name: Its word on the command line.
        title: Its name in tables.
        asks: What is asked of a library, one sentence.
        layer: The layer, as Python writes it.
        size: Of the input.
        loss: The loss, as Python writes it.
        labels: Likewise.
        frozen: Whether the bias is not trained.
        needs: What a library must have for the question to make sense; see `kfc_bench.audit.library.Library`.
        family: What is told of together: options whose fault is one and the same.
    """

    name: str
    title: str
    asks: str
    layer: str
    size: tuple[int, ...] = IMAGES
    loss: str = CROSS_ENTROPY
    labels: str = CLASSES
    frozen: bool = False
    needs: str = ""
    family: str = ""

    @property
    def told_as(self) -> str:
        """The family, or the option itself."""
        return self.family or self.name

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks that are asked for."""
        return {"joint bias": ("weight and bias",), "bias apart": ("weight", "bias")}.get(self.needs, ("weight",))

    def lines(self) -> list[str]:
        """Write the network, its data and its loss."""
        return [
            f"layer = {self.layer}",
            *(["layer.bias.requires_grad_(False)"] if self.frozen else []),
            f"x = torch.randn{self.size}",
            "model = nn.Sequential(layer, nn.Flatten(), nn.Linear(layer(x)[0].numel(), 3))",
            f"labels, loss = {self.labels}, {self.loss}",
        ]


def _conv(name: str, title: str, asks: str, arguments: str, family: str = "") -> Option:
    return Option(name, title, asks, f"nn.Conv2d({arguments}, bias=False)", family=family)


def _padding_mode(mode: str, holds: str) -> Option:
    asks = f"The padding holds {holds}, not zeros."
    return _conv(mode, f'padding_mode="{mode}"', asks, f'4, 6, 3, padding=1, padding_mode="{mode}"', "padding_mode")


WITH_BIAS = "nn.Conv2d(4, 6, 3, padding=1)"
PLAIN = "nn.Conv2d(4, 6, 3, padding=1, bias=False)"
LINEAR_TOKENS = "nn.Linear(4, 6, bias=False)"

OPTIONS = {
    option.name: option
    for option in (
        _conv(
            "plain",
            "plain 3x3",
            "No option: K-FAC-expand of a convolution, cross-entropy's mean over examples.",
            "4, 6, 3, padding=1",
        ),
        _conv("stride", "stride 2", "The kernel moves by two pixels.", "4, 6, 3, padding=1, stride=2"),
        _conv("dilation", "dilation 2", "The kernel's entries lie two pixels apart.", "4, 6, 3, padding=2, dilation=2"),
        _conv("kernel_1x3", "kernel 1x3", "A kernel that is no square, without padding.", "4, 6, (1, 3)"),
        _conv(
            "per_axis",
            "kernel, stride and padding per axis",
            "Kernel, stride and padding differ from axis to axis.",
            "4, 6, (3, 2), stride=(2, 1), padding=(1, 0)",
        ),
        _conv(
            "one_axis_padding",
            "kernel 1x3, padding (0, 1)",
            "Only one axis is padded.",
            "4, 6, (1, 3), padding=(0, 1)",
        ),
        _conv("valid", 'padding="valid"', "No padding, said by a word.", '4, 6, 3, padding="valid"'),
        _conv(
            "same", 'padding="same"', "As much padding as keeps the size, said by a word.", '4, 6, 3, padding="same"'
        ),
        _conv(
            "same_even",
            'padding="same", kernel 2x2',
            "The same with an even kernel: torch pads one side more than the other.",
            '4, 6, 2, padding="same"',
        ),
        _padding_mode("circular", "the opposite side of the map"),
        _padding_mode("reflect", "the map's mirror image"),
        _padding_mode("replicate", "the map's edge"),
        _conv(
            "groups", "groups 2", "Two groups of channels that do not meet.", "4, 6, 3, padding=1, groups=2", "groups"
        ),
        _conv("depthwise", "depthwise", "Every channel is a group.", "4, 4, 3, padding=1, groups=4", "groups"),
        Option(
            "conv1d",
            "Conv1d",
            "One spatial axis.",
            "nn.Conv1d(4, 6, 3, padding=1, bias=False)",
            (5, 4, 9),
            family="axes",
        ),
        Option(
            "conv3d", "Conv3d", "Three spatial axes.", "nn.Conv3d(2, 4, 2, bias=False)", (5, 2, 4, 3, 3), family="axes"
        ),
        Option(
            "bias_joint",
            "bias, one block with the weight",
            "Weight and bias in one block.",
            WITH_BIAS,
            needs="joint bias",
        ),
        Option(
            "bias_apart",
            "bias, a block of its own",
            "A block of the weight, another of the bias.",
            WITH_BIAS,
            needs="bias apart",
        ),
        Option(
            "frozen_bias", "frozen bias", "The bias is not trained: the weight's block alone.", WITH_BIAS, frozen=True
        ),
        Option("linear", "Linear [N, D]", "A linear layer without options.", LINEAR_TOKENS, (5, 4)),
        Option(
            "tokens",
            "Linear [N, T, D]",
            "A linear layer applied to each of seven tokens, a convolution of kernel 1.",
            LINEAR_TOKENS,
            TOKENS,
            family="tokens",
        ),
        Option(
            "grid",
            "Linear [N, T, S, D]",
            "A linear layer with two extra dimensions.",
            LINEAR_TOKENS,
            (5, 3, 2, 4),
            family="tokens",
        ),
        Option("reduce", "reduce, Conv2d", "K-FAC-reduce of a convolution.", PLAIN, needs="reduce"),
        Option(
            "reduce_tokens",
            "reduce, Linear [N, T, D]",
            "K-FAC-reduce of tokens.",
            LINEAR_TOKENS,
            TOKENS,
            needs="reduce",
        ),
        Option(
            "sum",
            "cross-entropy, summed",
            "The loss is summed over examples, and so is its curvature.",
            PLAIN,
            loss='nn.CrossEntropyLoss(reduction="sum")',
            needs="sum",
        ),
        Option(
            "squared_mean",
            "squared error, mean",
            "torch's squared error, a mean over examples and outputs.",
            PLAIN,
            loss="nn.MSELoss()",
            labels=TARGETS,
            needs="squared error",
        ),
        Option(
            "squared_sum",
            "squared error, summed",
            "The same, summed.",
            PLAIN,
            loss='nn.MSELoss(reduction="sum")',
            labels=TARGETS,
            needs="sum",
        ),
    )
}
"""Every option, in the order of the tables; those without a need are asked of every library."""
