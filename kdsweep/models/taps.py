"""Reading the outputs of named layers during a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]
INPUT = ":input"  # "fc:input" taps what goes into the layer fc: the embedding


@contextlib.contextmanager
def tapped(network: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Collect, while the context is open, what the named layers put out, or take in."""
    outputs: dict[str, Tensor] = {}
    handles = []
    try:
        for name in names:
            layer = network.get_submodule(name.removesuffix(INPUT))
            keep = _keep_input if name.endswith(INPUT) else _keep_output
            handles.append(layer.register_forward_hook(keep(outputs, name)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def tap_shapes(
    network: nn.Module, names: tuple[str, ...], image_size: int
) -> dict[str, tuple[int, ...]]:
    """The shape at each tap of what one image gives: (C, H, W) or (D,).

    Args:
        network: left as it is; it runs in evaluation mode.
        names: of the taps.
        image_size: of a square image, in pixels.
    """
    like = next(network.parameters())
    training = network.training
    network.eval()
    with tapped(network, names) as outputs:
        network(torch.zeros(1, 3, image_size, image_size, device=like.device, dtype=like.dtype))
    network.train(training)
    return {name: tuple(value.shape[1:]) for name, value in outputs.items()}


def _keep_output(outputs: dict[str, Tensor], name: str) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[name] = output

    return hook


def _keep_input(outputs: dict[str, Tensor], name: str) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[name] = inputs[0]

    return hook
