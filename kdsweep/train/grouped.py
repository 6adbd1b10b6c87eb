"""N students as one network: every leaf layer grouped, the members folded into the channels.

Activations are [B, N * C, H, W] and [B, N * F], the member axis outermost in the channels, so
that everything which treats channels alike (ReLU, pooling, addition, flatten) needs no change.
Parameters keep the stacked shapes [N, *shape] of the population and are passed by
``torch.func.functional_call``. (The idea is HFTA's: Wang et al., MLSys 2021.)

Which operations stand between the leaves can't be seen from the modules, so ``check`` runs two
members together and alone.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from kdsweep.models.taps import INPUT, tapped
from kdsweep.train.dropout import MemberKeys, SeededDepth, SeededDropout
from kdsweep.train.student import Student

log = logging.getLogger(__name__)

_IMAGES = 2  # of the check: batch norm needs as many, even at a resolution of one pixel
_TOLERANCE = 1e-6  # of the largest value, in float64


class NotGroupableError(Exception):
    """A network that can't be executed with its members folded into the channels, and why."""


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
        NotGroupableError: a layer with parameters or buffers has no grouped form.
    """
    grouped = copy.deepcopy(template)
    return _convert(grouped)


def _convert(module: nn.Module) -> nn.Module:
    if type(module) is nn.Conv2d:  # a subclass may do something else with the same parameters
        if module.padding_mode != "zeros":
            raise NotGroupableError(f"a convolution padded with {module.padding_mode}")
        return _GroupedConv2d(module)
    if type(module) is nn.BatchNorm2d:
        return _GroupedBatchNorm2d(module)
    if type(module) is nn.Linear:
        return _GroupedLinear(module)
    if getattr(module, "stacks", False):  # it says of itself that it takes stacked parameters
        return module
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    if own:
        raise NotGroupableError(f"{type(module).__name__} has no grouped form")
    for name, child in list(module.named_children()):
        setattr(module, name, _convert(child))
    return module


def try_grouping(template: Student, image: tuple[int, ...]) -> nn.Module | None:
    """What ``group`` makes of a student, or None, which is then said, where that can't be.

    Args:
        template: with its dropout layers seeded.
        image: the shape of one image, [C, H, W].
    """
    try:
        grouped = group(template)
        check(template, grouped, image)
    except NotGroupableError as error:
        network = getattr(template.model, "unwrapped", template.model)
        say_once(
            f"{type(network).__name__} can't run several members as one network, so they "
            f"run one after another: {error}"
        )
        return None
    return grouped


@functools.cache
def say_once(line: str) -> None:
    """Log a line, unless this process has done so."""
    log.info(line)


@torch.no_grad()
def check(template: nn.Module, grouped: nn.Module, image: tuple[int, ...]) -> None:
    """See that two members get from ``grouped`` what each gets from ``template`` alone.

    They run on the CPU in float64 and in training mode, with different random parameters.

    Args:
        template: a ``Student``, with its dropout layers seeded.
        grouped: what ``group`` made of it.
        image: the shape of one image, [C, H, W].

    Raises:
        NotGroupableError: something does not treat all channels alike; it names the first layer
            whose output is another.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(_IMAGES, *image, generator=draw, dtype=torch.float64)
    solo = copy.deepcopy(template).to("cpu", torch.float64).train()
    members = [_perturbed(solo, draw) for _ in range(2)]
    alone = [_outputs(solo, member, images, [i]) for i, member in enumerate(members)]
    together = copy.deepcopy(grouped).to("cpu", torch.float64).train()
    stacked = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    try:
        both = _outputs(together, stacked, fold(images.expand(2, *images.shape)), [0, 1])
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise NotGroupableError(f"its layers can't be run side by side: {reason}") from error
    ends = [name for name in alone[0] if name.startswith(":")]
    if not all(_same(both[name], [one[name] for one in alone]) for name in ends):
        differing = (
            name for name in alone[0] if not _same(both[name], [one[name] for one in alone])
        )
        layer = next(differing).removeprefix("model.")
        raise NotGroupableError(f"channels are mixed in {layer} or in front of it")


def _perturbed(model: nn.Module, draw: torch.Generator) -> dict[str, Tensor]:
    """Parameters and buffers of a member of its own; none is left at a start of zeros."""
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        state[name] = parameter + 0.02 * noise
    return state


def _outputs(
    network: nn.Module, state: Mapping[str, Tensor], images: Tensor, seeds: list[int]
) -> dict[str, Tensor]:
    """The outputs of a student and of every layer by name; the student's own begin with ':'."""
    for layer in network.modules():
        if isinstance(layer, (SeededDropout, SeededDepth)):
            layer.clock.start(MemberKeys(torch.tensor(seeds)), 0)
    names = tuple(n for n, _ in network.named_modules() if n and not n.endswith(INPUT))
    with tapped(network, names) as layers:
        logits, features, _ = functional_call(network, dict(state), (images, {}))
    ends = {":logits": logits, **{f":{tap}": value for tap, value in features.items()}}
    return {k: v for k, v in {**layers, **ends}.items() if isinstance(v, Tensor)}


def _same(together: Tensor, alone: list[Tensor]) -> bool:
    if alone[0].dim() < 2:
        return together.shape == alone[0].shape
    expected = fold(torch.stack(alone))
    if together.shape != expected.shape:
        return False
    return bool((together - expected).abs().max() <= _TOLERANCE * expected.abs().max())


def fold(images: Tensor) -> Tensor:
    """[N, B, C, H, W] to [B, N * C, H, W]."""
    return images.transpose(0, 1).flatten(1, 2)


def unfold(outputs: Tensor, n: int) -> Tensor:
    """[B, N * C, ...] to [N, B, C, ...]."""
    shape = (outputs.shape[0], n, outputs.shape[1] // n, *outputs.shape[2:])
    return outputs.reshape(shape).transpose(0, 1)
