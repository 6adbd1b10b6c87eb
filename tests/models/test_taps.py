from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdsweep.models.taps import INPUT, tapped


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(x))
        return out


def test_outputs_and_inputs_by_name() -> None:
    net, x = Net(), torch.randn(5, 3)
    names = ("block", "block.0", f"head{INPUT}", f"block.0{INPUT}")
    with tapped(net, names) as seen:
        net(x)
    assert set(seen) == set(names)
    assert torch.equal(seen["block"], net.block(x))
    assert torch.equal(seen["block.0"], net.block[0](x))
    assert torch.equal(seen[f"head{INPUT}"], seen["block"])
    assert torch.equal(seen[f"block.0{INPUT}"], x)


def test_gradients_flow_through_a_tap() -> None:
    net = Net()
    with tapped(net, ("block",)) as seen:
        net(torch.randn(5, 3))
    (gradient,) = torch.autograd.grad(seen["block"].sum(), net.block[0].bias)
    assert gradient.abs().sum() > 0


def test_a_later_pass_replaces_an_earlier_one() -> None:
    net = Net()
    with tapped(net, ("head",)) as seen:
        net(torch.zeros(1, 3))
        second = net(torch.ones(2, 3))
    assert seen["head"] is second


def test_nothing_stays_behind() -> None:
    net = Net()
    with tapped(net, ("block", "head")) as seen:
        pass
    net(torch.zeros(1, 3))
    assert not seen
    with pytest.raises(RuntimeError, match="mat1"), tapped(net, ("block",)):
        net(torch.zeros(1, 7))
    assert not any(layer._forward_hooks for layer in net.modules())


def test_no_such_layer() -> None:
    net = Net()
    with pytest.raises(AttributeError, match="tail"), tapped(net, ("block", "tail")):
        pass
    assert not net.block._forward_hooks
