"""DeepInversion: images that a trained teacher would have seen, optimised from noise.

Source: Yin et al. 2020, Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion,
equations 2 to 4 (without the student of equation 5).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdsweep import streams
from kdsweep.config import InversionConfig
from kdsweep.losses.base import at_least_float32

_LABELS, _PIXELS, _SHIFT, _FLIP = range(4, 8)  # what a stream of noise is for
Predict: TypeAlias = Callable[[Tensor], Tensor]


def statistics_distance(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """||batch mean - mean|| + ||batch variance - variance||, a scalar.

    The batch's variance is the population's, as batch norm itself divides by it.

    Args:
        x: what goes into a batch norm layer, [B, C, ...].
        mean: running mean [C].
        variance: running variance [C].
    """
    x = at_least_float32(x)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    own_variance, own_mean = torch.var_mean(x, axes, correction=0)
    apart = [own_mean - mean, own_variance - variance]
    return torch.stack([_norm(difference) for difference in apart]).sum()


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x)
    return norm


def total_variation(images: Tensor) -> Tensor:
    """The norms of the differences of neighbours, summed over four directions: a scalar.

    Right, down and both diagonals; a norm is over the whole batch [B, C, H, W].
    """
    across, down = images.diff(dim=3), images.diff(dim=2)
    falling = images[:, :, 1:, 1:] - images[:, :, :-1, :-1]
    rising = images[:, :, :-1, 1:] - images[:, :, 1:, :-1]
    return torch.stack([_norm(part) for part in (across, down, falling, rising)]).sum()


def normalised_layers(model: nn.Module) -> list[_BatchNorm]:
    """The batch norm layers that have running statistics."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


@contextlib.contextmanager
def distances(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, while the context is open, the ``statistics_distance`` of every layer."""
    collected: list[Tensor] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        collected.append(statistics_distance(inputs[0], layer.running_mean, layer.running_var))

    handles = [layer.register_forward_pre_hook(hook) for layer in normalised_layers(model)]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


def inversion_loss(
    teacher: nn.Module, predict: Predict, images: Tensor, labels: Tensor, config: InversionConfig
) -> Tensor:
    """CE + bn * distances + tv * total variation + l2 * norm of the pixels: a scalar, in nats.

    Args:
        teacher: with batch norm, in evaluation mode.
        predict: runs it: images [B, C, H, W] to logits [B, K].
        images: normalised.
        labels: the targets, int64 [B].
        config: the weights.
    """
    with distances(teacher) as collected:
        logits = at_least_float32(predict(images))
    loss: Tensor = (
        F.cross_entropy(logits, labels)
        + config.bn_weight * torch.stack(collected).sum()
        + config.tv_weight * total_variation(images)
        + config.l2_weight * _norm(images)
    )
    return loss


def draw_labels(config: InversionConfig, classes: int, device: torch.device) -> Tensor:
    """Targets of all images, int64 [n]: every class as often, up to one, in a drawn order."""
    seed = torch.tensor([config.seed], device=device)
    position = torch.arange(config.images, device=device)
    order = streams.bits(seed, streams.NOISE, _LABELS, position).argsort(stable=True)
    return order % classes


def dream(
    teacher: nn.Module,
    predict: Predict,
    labels: Tensor,
    config: InversionConfig,
    *,
    batch: int,
    image_size: int,
    limits: tuple[Tensor, Tensor],
    step: Callable[[], None],
) -> Tensor:
    """Optimise one batch of images from noise; a pure function of the config's seed and ``batch``.

    Each iteration sees the images rolled by up to ``jitter`` pixels and perhaps mirrored, and
    leaves them within ``limits``.

    Args:
        teacher: with batch norm, in evaluation mode, without gradients of its own.
        predict: runs it: images [B, 3, H, W] to logits [B, K].
        labels: the targets, int64 [B].
        config: how.
        batch: its number.
        image_size: H and W, in pixels.
        limits: the lowest and the highest normalised value of a pixel, [3, 1, 1] each.
        step: is called after each iteration.

    Returns:
        Normalised images [B, 3, H, W].
    """
    low, high = limits
    seed = torch.tensor(config.seed, device=labels.device)
    keys = (streams.NOISE, _PIXELS, batch)
    place = torch.arange(len(labels) * 3 * image_size**2, device=labels.device)
    noise = streams.normal(seed, *keys, place).to(low.dtype)
    images = noise.view(-1, 3, image_size, image_size).clamp(low, high).requires_grad_()
    adam = torch.optim.Adam([images], lr=config.lr)
    for iteration in range(config.iterations):
        seen = _jittered(images, config, batch, iteration)
        (images.grad,) = torch.autograd.grad(
            inversion_loss(teacher, predict, seen, labels, config), [images]
        )
        adam.step()
        with torch.no_grad():
            images.clamp_(low, high)
        step()
    return images.detach()


def _jittered(images: Tensor, config: InversionConfig, batch: int, iteration: int) -> Tensor:
    seed, axis = torch.tensor(config.seed), torch.arange(2)
    keys = (streams.NOISE, _SHIFT, batch, iteration)
    down, right = streams.integers(2 * config.jitter + 1, seed, *keys, axis).tolist()
    rolled = images.roll((down - config.jitter, right - config.jitter), (2, 3))
    mirrored = streams.integers(2, seed, streams.NOISE, _FLIP, batch, iteration)
    return rolled.flip(3) if config.flip and bool(mirrored) else rolled
