"""Residual networks for 32 x 32 images.

He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2: 6n + 2 layers in
three groups of n blocks. As in the distillation literature (Tian et al., "Contrastive
Representation Distillation", 2020), a shortcut that changes shape is a 1 x 1 convolution with a
batch norm, where the paper pads with zeros; so the counts are a little above the paper's.
Convolutions start from He's normal initialisation (fan out), the linear layer from PyTorch's.
"""

from __future__ import annotations

from torch import Tensor, nn

from kdsweep.models.base import ImageClassifier, conv1x1, conv3x3, init_convolutions


class _BasicBlock(nn.Module):
    """ReLU(shortcut(x) + two 3 x 3 convolutions of x)."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels_in, channels_out, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                conv1x1(channels_in, channels_out, stride=stride), nn.BatchNorm2d(channels_out)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(residual + self.downsample(x))
        return out


class CifarResNet(ImageClassifier):
    """A ResNet of ``depth`` = 6n + 2 layers; ``channels`` of the stem and of the three groups.

    Images of 32 x 32 leave the groups at 32 x 32, 16 x 16 and 8 x 8.
    """

    stages = ("layer1", "layer2", "layer3")
    classifier = "fc"

    def __init__(self, *, depth: int, channels: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        assert rest == 0, f"a depth of 6n + 2, not {depth}"
        self.conv1 = conv3x3(3, channels[0])
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        self.layer1 = _group(channels[0], channels[1], blocks=blocks, stride=1)
        self.layer2 = _group(channels[1], channels[2], blocks=blocks, stride=2)
        self.layer3 = _group(channels[2], channels[3], blocks=blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels[3], classes)
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.fc(self.flatten(self.pool(maps)))
        return logits


def _group(channels_in: int, channels_out: int, *, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _BasicBlock(channels_in, channels_out, stride=stride),
        *(_BasicBlock(channels_out, channels_out, stride=1) for _ in range(blocks - 1)),
    )
