"""MobileNetV2 for 32 x 32 images.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2, with the
changes of the distillation literature (Tian et al., "Contrastive Representation Distillation",
2020): half the width but 1280 last channels, ReLU for ReLU6, stride 1 in the second group, and an
expanding convolution in the first group too. Convolutions start from He's normal initialisation
(fan out), the linear layer from N(0, 0.01^2).
"""

from __future__ import annotations

from torch import Tensor, nn

from kdsweep.models.base import ImageClassifier, conv1x1, conv3x3, init_convolutions, init_linear

# expansion, channels at width 1, blocks, stride of the first block
_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LAST = 1280


class _InvertedResidual(nn.Module):
    """1 x 1 to ``expansion`` times the channels, 3 x 3 depthwise, 1 x 1 back without a ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, *, expansion: int, stride: int
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.shortcut = stride == 1 and channels_in == channels_out
        self.expand = nn.Sequential(conv1x1(channels_in, wide), nn.BatchNorm2d(wide), nn.ReLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride=stride, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
        )
        self.project = nn.Sequential(conv1x1(wide, channels_out), nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + residual if self.shortcut else residual


class MobileNetV2(ImageClassifier):
    """A MobileNetV2: a stem of stride 2 and seven groups of inverted residuals.

    Images of 32 x 32 leave the stages at 16 x 16, 8 x 8, 4 x 4 and 2 x 2, without a ReLU.
    """

    stages = ("groups.1", "groups.2", "groups.4", "groups.6")
    classifier = "fc"

    def __init__(self, *, multiplier: float, classes: int) -> None:
        super().__init__()
        channels = int(32 * multiplier)
        self.stem = nn.Sequential(
            conv3x3(3, channels, stride=2), nn.BatchNorm2d(channels), nn.ReLU()
        )
        groups = []
        for expansion, base, blocks, stride in _GROUPS:
            out = int(base * multiplier)
            group = [_InvertedResidual(channels, out, expansion=expansion, stride=stride)]
            for _ in range(blocks - 1):
                group.append(_InvertedResidual(out, out, expansion=expansion, stride=1))
            groups.append(nn.Sequential(*group))
            channels = out
        self.groups = nn.Sequential(*groups)
        self.last = nn.Sequential(conv1x1(channels, _LAST), nn.BatchNorm2d(_LAST), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(_LAST, classes)
        init_convolutions(self)
        init_linear(self.fc, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.last(self.groups(self.stem(images)))
        logits: Tensor = self.fc(self.flatten(self.pool(maps)))
        return logits
