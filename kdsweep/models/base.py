"""What every model has in common, and the parts that several families share.

A population of N students is executed as one network whose members lie side by side in the
channels. So the models here are made of ``nn`` leaves, and of operations between them that treat
all channels alike: +, ReLU, pooling, flatten. Nothing works in place, so that the output of any
layer may be tapped.
"""

from __future__ import annotations

from torch import nn


class ImageClassifier(nn.Module):
    """Images [B, 3, H, W] to logits [B, K].

    ``stages`` are the dotted names of the layers that end each stage, shallow to deep; a stage is
    a run of layers at one resolution, and its end puts out a map [B, C, H, W]. ``classifier`` is
    the dotted name of the last linear layer; its input [B, F] is the embedding.
    """

    stages: tuple[str, ...]
    classifier: str
    prefix = ""  # what the names of all layers begin with, where a network is wrapped

    @property
    def unwrapped(self) -> nn.Module:
        """The network whose layers have names without ``prefix``."""
        return self


def layer_names(model: nn.Module) -> tuple[str, ...]:
    """Dotted names of all layers that can be tapped, in the order of their definition."""
    containers = (nn.ModuleList, nn.ModuleDict)  # these are never called, so have no output
    return tuple(
        name
        for name, module in model.named_modules()
        if name and not isinstance(module, containers)
    )


def conv3x3(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the resolution at stride 1; a batch norm has its bias."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


def conv1x1(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Conv2d:
    """A 1 x 1 convolution; the batch norm that follows has its bias."""
    return nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)


def init_convolutions(model: nn.Module) -> None:
    """Draw all convolutions from N(0, 2 / (k * k * C_out)); biases start at 0.

    He et al., "Delving Deep into Rectifiers" (2015), section 2.2, in the backward form (fan out),
    as the CIFAR networks of the distillation literature are initialised.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_linear(linear: nn.Linear, *, std: float) -> None:
    """Draw the weights from N(0, std * std); the bias starts at 0."""
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
