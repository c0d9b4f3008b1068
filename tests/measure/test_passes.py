import pytest
import torch
from torch import nn

from kfc_bench.measure.passes import marked_passes
from kfc_bench.spans import listening, span
from tests.test_spans import Borders


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.twice(self.twice(self.relu(self.conv(x)))) + x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3)
        self.body = nn.Sequential(nn.ReLU(inplace=True), Residual())
        self.same = nn.Identity()
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        return self.fc(self.same(self.body(self.stem(x))).mean((2, 3)))


def run(net, x):
    net.zero_grad()
    with span("forward"):
        out = net(x)
    with span("backward"):
        out.square().sum().backward()
    return [parameter.grad.clone() for parameter in net.parameters()]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def in_turn(borders, phase):
    """Layers of a phase in the order in which they begin, those that belong to none left out, and repeats."""
    layers = [layer for own, layer in borders.seen if own == phase and layer]
    return [layer for place, layer in enumerate(layers) if not place or layers[place - 1] != layer]


def test_the_passes_go_through_every_module(net):
    x, borders = torch.randn(2, 2, 6, 6), Borders()
    with listening(borders), marked_passes(net, borders):
        run(net, x)
    assert in_turn(borders, "forward") == [
        "stem",
        "body.0",
        "body.1",
        "body.1.conv",
        "body.1",
        "body.1.relu",
        "body.1",
        "body.1.twice",
        "body.1",
        "body.1.twice",
        "body.1",
        "same",
        "fc",
    ]
    # The residual sum is the block's own; what returns its input has no backward pass; "twice" is the same run twice.
    assert in_turn(borders, "backward") == [
        "fc",
        "body.1",
        "body.1.twice",
        "body.1.relu",
        "body.1.conv",
        "body.0",
        "stem",
    ]
    assert [layer for phase, layer in borders.seen if phase == "backward"].count("body.1.twice") == 2


def test_gradients_are_the_same_and_hooks_go(net):
    x = torch.randn(2, 2, 6, 6)
    plain = run(net, x)
    borders = Borders()
    with listening(borders), marked_passes(net, borders):
        marked = run(net, x)
    assert all(map(torch.equal, plain, marked))
    seen = len(borders.seen)
    run(net, x)
    assert len(borders.seen) == seen
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_frozen_part_and_an_input_with_a_gradient(net):
    for parameter in net.stem.parameters():
        parameter.requires_grad_(False)
    borders = Borders()
    with listening(borders), marked_passes(net, borders), span("backward"):
        net(torch.randn(1, 2, 6, 6)).sum().backward()
    assert "stem" not in in_turn(borders, "backward")[-2:]
    leaf = torch.randn(1, 2, 6, 6, requires_grad=True)
    with listening(borders), marked_passes(net, borders), span("forward"):
        out = net(leaf)
    borders.seen.clear()
    with listening(borders), span("backward"):
        out.sum().backward()
    assert in_turn(borders, "backward")[-1] == "stem"


def test_the_graph_does_not_outlive_its_step(net):
    import weakref

    borders = Borders()
    with listening(borders), marked_passes(net, borders):
        out = net(torch.randn(1, 2, 6, 6))
        node = weakref.ref(out)
        del out
        assert node() is None
