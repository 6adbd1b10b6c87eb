# A model: plugins=[my_model] pair.student.name=my_cnn pair.student.kwargs.depth=3

import kdsweep
from torch import Tensor, nn


@kdsweep.register_model("my_cnn")
class MyCNN(nn.Module):
    """`depth` convolutions of stride 2, a mean over positions, a linear layer."""

    def __init__(self, num_classes: int, depth: int = 3, channels: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            before = 3 if i == 0 else channels
            conv = nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False)
            layers.append(nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU()))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images).mean((2, 3)))
