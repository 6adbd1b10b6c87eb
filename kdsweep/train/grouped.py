"""N students as one network: every leaf layer grouped, the members folded into the channels.

Activations are [B, N * C, H, W] and [B, N * F], the member axis outermost in the channels, so
that everything which treats channels alike (ReLU, pooling, addition, flatten) needs no change.
Parameters keep the stacked shapes [N, *shape] of the population and are passed by
``torch.func.functional_call``. (The idea is HFTA's: Wang et al., MLSys 2021.)
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.train.dropout import SeededDropout

_CHANNELWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid,
    nn.Tanh, nn.Identity, nn.Flatten, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, SeededDropout,
)  # fmt: skip


class NotGroupableError(Exception):
    """A network that can't be executed with its members folded into the channels."""


def _adopt(grouped: nn.Module, layer: nn.Module) -> None:
    """Register the layer's own parameters and buffers under their names."""
    for name, parameter in layer._parameters.items():
        grouped.register_parameter(name, parameter)
    for name, buffer in layer._buffers.items():
        grouped.register_buffer(name, buffer)


class _GroupedConv2d(nn.Module):
    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = [conv]  # in a list, so that its parameters are not registered twice
        _adopt(self, conv)

    def forward(self, x: Tensor) -> Tensor:
        (conv,) = self.conv
        n = self.weight.shape[0]
        bias = None if self.bias is None else self.bias.reshape(-1)
        return F.conv2d(
            x,
            self.weight.flatten(0, 1),
            bias,
            conv.stride,
            conv.padding,
            conv.dilation,
            groups=n * conv.groups,
        )


class _GroupedBatchNorm2d(nn.Module):
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        if norm.momentum is None or norm.running_mean is None:
            raise NotGroupableError("a batch norm without running averages by momentum")
        self.momentum = norm.momentum
        self.eps = norm.eps
        _adopt(self, norm)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            x,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            None if self.weight is None else self.weight.reshape(-1),
            None if self.bias is None else self.bias.reshape(-1),
            self.training,
            self.momentum,
            self.eps,
        )


class _GroupedLinear(nn.Module):
    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        _adopt(self, linear)

    def forward(self, x: Tensor) -> Tensor:
        members = unfold(x, self.weight.shape[0])  # [N, B, F]
        weight = self.weight.transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(members, weight)
        else:
            out = torch.baddbmm(self.bias.unsqueeze(1), members, weight)
        return out.transpose(0, 1).flatten(1)


def group(template: nn.Module) -> nn.Module:
    """A copy of ``template`` whose leaves execute stacked parameters of any N.

    Raises:
        NotGroupableError: a leaf layer has no grouped form. Whether the operations between the
            leaves treat channels alike can't be seen from the modules: ``check`` shows it.
    """
    grouped = copy.deepcopy(template)
    return _convert(grouped)


def _convert(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise NotGroupableError(f"a convolution padded with {module.padding_mode}")
        return _GroupedConv2d(module)
    if isinstance(module, nn.BatchNorm2d):
        return _GroupedBatchNorm2d(module)
    if isinstance(module, nn.Linear):
        return _GroupedLinear(module)
    children = list(module.named_children())
    if not children and not isinstance(module, _CHANNELWISE) and _has_state(module):
        raise NotGroupableError(f"no grouped form of {type(module).__name__}")
    for name, child in children:
        setattr(module, name, _convert(child))
    return module


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def fold(images: Tensor) -> Tensor:
    """[N, B, C, H, W] to [B, N * C, H, W]."""
    return images.transpose(0, 1).flatten(1, 2)


def unfold(outputs: Tensor, n: int) -> Tensor:
    """[B, N * C, ...] to [N, B, C, ...]."""
    shape = (outputs.shape[0], n, outputs.shape[1] // n, *outputs.shape[2:])
    return outputs.reshape(shape).transpose(0, 1)
