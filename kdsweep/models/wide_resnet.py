"""Wide residual networks for 32 x 32 images.

Zagoruyko and Komodakis, "Wide Residual Networks" (2016), table 1: WRN-depth-k has 6n + 4 layers
in three groups of n pre-activation blocks with 16k, 32k and 64k channels. No dropout.
Convolutions start from He's normal initialisation (fan out), the linear layer from PyTorch's
weights and a bias of 0.
"""

from __future__ import annotations

from torch import Tensor, nn

from kdsweep.models.base import ImageClassifier, conv1x1, conv3x3, init_convolutions


class _PreactivationBlock(nn.Module):
    """x + two 3 x 3 convolutions of ReLU(BN(x)).

    Where the shape changes, the shortcut is a 1 x 1 convolution, of ReLU(BN(x)) as well.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(channels_in, channels_out, stride=stride)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(channels_out, channels_out)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = None if same else conv1x1(channels_in, channels_out, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))
        residual: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return residual + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(ImageClassifier):
    """A wide ResNet of ``depth`` = 6n + 4 layers, ``widen`` times as wide as the thin network.

    Images of 32 x 32 leave the groups at 32 x 32, 16 x 16 and 8 x 8, before the activation.
    """

    stages = ("group1", "group2", "group3")
    classifier = "fc"

    def __init__(self, *, depth: int, widen: int, classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        assert rest == 0, f"a depth of 6n + 4, not {depth}"
        self.conv = conv3x3(3, 16)
        self.group1 = _group(16, 16 * widen, blocks=blocks, stride=1)
        self.group2 = _group(16 * widen, 32 * widen, blocks=blocks, stride=2)
        self.group3 = _group(32 * widen, 64 * widen, blocks=blocks, stride=2)
        self.bn = nn.BatchNorm2d(64 * widen)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64 * widen, classes)
        init_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.group3(self.group2(self.group1(self.conv(images))))
        logits: Tensor = self.fc(self.flatten(self.pool(self.relu(self.bn(maps)))))
        return logits


def _group(channels_in: int, channels_out: int, *, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _PreactivationBlock(channels_in, channels_out, stride=stride),
        *(_PreactivationBlock(channels_out, channels_out, stride=1) for _ in range(blocks - 1)),
    )
