"""ShuffleNetV2 for 32 x 32 images.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design" (2018),
table 5 and figure 3, with the change of the distillation literature (Tian et al., "Contrastive
Representation Distillation", 2020): a stem of one 1 x 1 convolution at full resolution.
PyTorch's default initialisation.

Splitting, joining and shuffling channels does not treat all channels alike, so a population of
this architecture can't be executed with its members folded into the channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdsweep.models.base import ImageClassifier, conv1x1


def shuffle(maps: Tensor) -> Tensor:
    """Interleave the two halves of the channels: [a1, a2, b1, b2] to [a1, b1, a2, b2]."""
    batch, channels, height, width = maps.shape
    halves = maps.reshape(batch, 2, channels // 2, height, width)
    return halves.transpose(1, 2).reshape(batch, channels, height, width)


class _Unit(nn.Module):
    """Half of the channels pass, the other half goes through 1 x 1, 3 x 3 depthwise, 1 x 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        passed, worked = x.chunk(2, dim=1)
        return shuffle(torch.cat([passed, self.branch(worked)], dim=1))


class _DownUnit(nn.Module):
    """Both branches see all channels and halve the resolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.shortcut = nn.Sequential(
            *_depthwise(channels_in, stride=2), *_pointwise(channels_in, half)
        )
        self.branch = _branch(channels_in, half, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(torch.cat([self.shortcut(x), self.branch(x)], dim=1))


class ShuffleNetV2(ImageClassifier):
    """A ShuffleNetV2: a 1 x 1 stem, groups of a unit that halves the resolution and ``units``.

    Images of 32 x 32 leave the groups at 16 x 16, 8 x 8 and 4 x 4.
    """

    stages = ("group1", "group2", "group3")
    classifier = "fc"

    def __init__(
        self,
        *,
        classes: int,
        channels: tuple[int, int, int] = (116, 232, 464),
        units: tuple[int, int, int] = (3, 7, 3),
        last: int = 1024,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_pointwise(3, 24))
        self.group1 = _group(24, channels[0], units=units[0])
        self.group2 = _group(channels[0], channels[1], units=units[1])
        self.group3 = _group(channels[1], channels[2], units=units[2])
        self.last = nn.Sequential(*_pointwise(channels[2], last))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.group3(self.group2(self.group1(self.stem(images))))
        logits: Tensor = self.fc(self.flatten(self.pool(self.last(maps))))
        return logits


def _pointwise(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [conv1x1(channels_in, channels_out), nn.BatchNorm2d(channels_out), nn.ReLU()]


def _depthwise(channels: int, *, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def _branch(channels_in: int, channels_out: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *_pointwise(channels_in, channels_out),
        *_depthwise(channels_out, stride=stride),
        *_pointwise(channels_out, channels_out),
    )


def _group(channels_in: int, channels_out: int, *, units: int) -> nn.Sequential:
    return nn.Sequential(
        _DownUnit(channels_in, channels_out), *(_Unit(channels_out) for _ in range(units))
    )
