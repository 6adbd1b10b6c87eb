"""VGG networks for 32 x 32 images: batch norm, and one linear layer in place of three.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
(2015); configuration B is vgg13, and vgg8 has one convolution in each of its five blocks. As in
the distillation literature (Tian et al., "Contrastive Representation Distillation", 2020), small
images are pooled between the first four blocks only, and the last block ends in a global mean.
Convolutions start from He's normal initialisation (fan out), the linear layer from N(0, 0.01^2).
"""

from __future__ import annotations

from torch import Tensor, nn

from kdsweep.models.base import ImageClassifier, init_convolutions, init_linear

_CHANNELS = (64, 128, 256, 512, 512)
_LARGE = 64  # pixels; images from here on are pooled before the last block too


class Vgg(ImageClassifier):
    """A VGG: five blocks of ``convolutions`` 3 x 3 convolutions each.

    Images of 32 x 32 leave the blocks at 32 x 32, 16 x 16, 8 x 8, 4 x 4 and 4 x 4.
    """

    stages = ("block1", "block2", "block3", "block4", "block5")
    classifier = "fc"

    def __init__(self, *, convolutions: int, classes: int, image_size: int = 32) -> None:
        super().__init__()
        pairs = zip((3, *_CHANNELS), _CHANNELS, strict=False)
        blocks = [_block(before, after, convolutions=convolutions) for before, after in pairs]
        self.block1, self.block2, self.block3, self.block4, self.block5 = blocks
        self.pool1 = nn.MaxPool2d(2)
        self.pool2 = nn.MaxPool2d(2)
        self.pool3 = nn.MaxPool2d(2)
        self.pool4 = nn.MaxPool2d(2) if image_size >= _LARGE else nn.Identity()
        self.pool5 = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(_CHANNELS[-1], classes)
        init_convolutions(self)
        init_linear(self.fc, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        maps = self.pool1(self.block1(images))
        maps = self.pool2(self.block2(maps))
        maps = self.pool3(self.block3(maps))
        maps = self.pool4(self.block4(maps))
        logits: Tensor = self.fc(self.flatten(self.pool5(self.block5(maps))))
        return logits


def _block(channels_in: int, channels_out: int, *, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        before = channels_in if i == 0 else channels_out
        layers += [
            nn.Conv2d(before, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
