"""What the tests of all models need: counting, tapping, and a reference of the folding."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdsweep.config import ModelConfig
from kdsweep.models import ImageClassifier, create_model


def make(name: str, *, classes: int = 10, image_size: int = 32, **options) -> ImageClassifier:
    config = ModelConfig(name=name, **options)
    return create_model(config, classes=classes, image_size=image_size, key="pair.student")


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tap(
    model: nn.Module, names: Sequence[str], images: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Each named layer's output, and a copy made at once, in the order in which they come."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.__setitem__(name, (output, output.clone()))
        )
        for name in names
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return seen


def embedding(model: ImageClassifier, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = model.get_submodule(model.classifier).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        model(images)
    handle.remove()
    return seen[0]


def fold(members: Sequence[nn.Module]) -> nn.Module:
    """One network of all members, side by side in the channels; linear layers block-diagonal."""
    folded = copy.deepcopy(members[0])
    for name, module in list(folded.named_modules()):
        leaves = [member.get_submodule(name) for member in members]
        n = len(leaves)
        if isinstance(module, nn.Conv2d):
            new: nn.Module = nn.Conv2d(
                n * module.in_channels,
                n * module.out_channels,
                module.kernel_size,
                stride=module.stride,
                padding=module.padding,
                groups=n * module.groups,
                bias=module.bias is not None,
            )
            state = {
                key: torch.cat([leaf.state_dict()[key] for leaf in leaves])
                for key in module.state_dict()
            }
        elif isinstance(module, nn.BatchNorm2d):
            new = nn.BatchNorm2d(n * module.num_features)
            state = {
                key: value if value.ndim == 0 else torch.cat([x.state_dict()[key] for x in leaves])
                for key, value in module.state_dict().items()
            }
        elif isinstance(module, nn.Linear):
            new = nn.Linear(n * module.in_features, n * module.out_features)
            state = {
                "weight": torch.block_diag(*(leaf.weight for leaf in leaves)),
                "bias": torch.cat([leaf.bias for leaf in leaves]),
            }
        else:
            continue
        new.load_state_dict(state)
        folded.set_submodule(name, new.to(next(members[0].parameters()).dtype))
    return folded
