"""System 1's pair: the teacher and the student of the published negative-transfer result.

Plain convolutional networks with PyTorch's default initialisation; all convolutions have biases.
``width`` multiplies every hidden width, that of the student's hidden linear layer too.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from kdsweep.models.base import ImageClassifier


def scaled(channels: int, width: float) -> int:
    """``channels`` * ``width``, rounded half up, at least 1."""
    return max(1, math.floor(channels * width + 0.5))


def _conv_bn_relu(channels_in: int, channels_out: int, *, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    ]


class CifarTeacher(ImageClassifier):
    """A stem of 64 channels and three blocks of two 3 x 3 convolutions, without shortcuts.

    Images of 32 x 32 leave the stem at 8 x 8 and the blocks at 8 x 8, 4 x 4 and 2 x 2.
    4,664,970 parameters at width 1 and 10 classes.
    """

    stages = ("block1", "block2", "block3")
    classifier = "fc"

    def __init__(self, *, classes: int, width: float = 1.0) -> None:
        super().__init__()
        stem, *widths = (scaled(channels, width) for channels in (64, 128, 256, 512))
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 7, stride=2, padding=3),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.block1 = self._block(stem, widths[0], stride=1)
        self.block2 = self._block(widths[0], widths[1], stride=2)
        self.block3 = self._block(widths[1], widths[2], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[2], classes)

    @staticmethod
    def _block(channels_in: int, channels_out: int, *, stride: int) -> nn.Sequential:
        return nn.Sequential(
            *_conv_bn_relu(channels_in, channels_out, stride=stride),
            *_conv_bn_relu(channels_out, channels_out),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.block3(self.block2(self.block1(self.stem(images))))
        logits: Tensor = self.fc(self.flatten(self.pool(maps)))
        return logits


def _conv_bn_pool_relu(channels_in: int, channels_out: int) -> list[nn.Module]:
    """The same function as with the pool last, and a quarter of the memory traffic in the ReLU."""
    convolution, norm, relu = _conv_bn_relu(channels_in, channels_out)
    return [convolution, norm, nn.MaxPool2d(2), relu]


class CifarStudent(ImageClassifier):
    """Four 3 x 3 convolutions of 16 to 128 channels, and two linear layers with dropout.

    Images of 32 x 32 leave the blocks at 16 x 16, 8 x 8, 4 x 4 and 4 x 4.
    106,826 parameters at width 1 and 10 classes.
    """

    stages = ("block1", "block2", "block3", "block4")
    classifier = "fc2"

    def __init__(self, *, classes: int, width: float = 1.0) -> None:
        super().__init__()
        widths = [scaled(channels, width) for channels in (16, 32, 64, 128)]
        hidden = scaled(64, width)
        self.block1 = nn.Sequential(*_conv_bn_pool_relu(3, widths[0]))
        self.block2 = nn.Sequential(*_conv_bn_pool_relu(widths[0], widths[1]))
        self.block3 = nn.Sequential(*_conv_bn_pool_relu(widths[1], widths[2]))
        self.block4 = nn.Sequential(*_conv_bn_relu(widths[2], widths[3]))
        self.mean_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout1 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(widths[3], hidden)
        self.relu = nn.ReLU()
        self.dropout2 = nn.Dropout(0.3)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.block4(self.block3(self.block2(self.block1(images))))
        pooled = self.flatten(self.mean_pool(maps))
        hidden = self.relu(self.fc1(self.dropout1(pooled)))
        logits: Tensor = self.fc2(self.dropout2(hidden))
        return logits
