"""Other libraries' classifiers, made to look like kdsweep's own.

The rules, for a network of which nothing is known beforehand:

- ``classifier`` is the last ``nn.Linear`` that a forward pass calls.
- ``stages`` are the children ``layer1``, ``layer2`` ... where there are such; else, of the layers
  in the order in which they are called, the last one at each resolution. Looked at are the
  network's children, and the children of an ``nn.Sequential`` inside which the resolution
  changes. Pooling, dropout and the part that holds the classifier end no stage, nor does a layer
  that puts out no map [B, C, H, W] (tokens; Swin's maps, whose channels come last), or whose
  output is written over later.
- ReLUs and their like do not work in place, so that the layer before them can be tapped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdsweep.errors import UserError, first_line
from kdsweep.models.base import ImageClassifier
from kdsweep.models.weights import load_state
from kdsweep.registry import did_you_mean

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_NO_STAGE = (*_POOLS, nn.Dropout, nn.Identity)


class ForeignClassifier(ImageClassifier):
    """Wraps ``net``, whose layers are named ``net.*``, and finds its stages and its classifier.

    Args:
        net: maps [B, 3, H, W] to logits.
        image_size: pixels, height and width of the images.
        given: what the user gave for the model, as ``key=value``, for the errors.
        classifier: the network's name of its last linear layer; None: it is looked for.
        stages: the network's names of the layers that end each stage; None: they are looked for.

    Raises:
        UserError: the network takes no images of this size, or has no linear classifier, or none
            of the names that were given.
    """

    prefix = "net."

    def __init__(
        self,
        net: nn.Module,
        *,
        image_size: int,
        given: str,
        classifier: str | None = None,
        stages: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        for module in net.modules():
            if getattr(module, "inplace", False) is True:
                vars(module)["inplace"] = False
        calls = _trace(self, image_size=image_size, given=given)
        linear = [name for name, call in calls.items() if isinstance(call.layer, nn.Linear)]
        if not linear:
            raise UserError(
                f"{given}: does not end in a linear layer, so kdsweep can't give it a new head"
            )
        self.classifier = linear[-1]
        if classifier is not None:
            self.classifier = _named(classifier, linear, f"{given}: classifier")
        if stages is None:
            self.stages = _stages(net, calls, classifier=self.classifier)
        else:
            maps = [name for name, call in calls.items() if call.side is not None]
            self.stages = tuple(_named(name, maps, f"{given}: stages") for name in stages)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        logits: Tensor = self.net(images)
        return logits

    @property
    def unwrapped(self) -> nn.Module:
        """The network itself."""
        return self.net

    def set_classes(self, classes: int) -> None:
        """Put a new linear layer in the classifier's place, unless it has ``classes`` outputs."""
        old = self.get_submodule(self.classifier)
        assert isinstance(old, nn.Linear)
        if old.out_features != classes:
            new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
            self.set_submodule(self.classifier, new)

    def load_pretrained(self, state: Mapping[str, Tensor], *, given: str) -> None:
        """Load ``state``, whatever number of classes it was trained for.

        Raises:
            UserError: it does not fit, the head aside.
        """
        head = f"{self.classifier}.weight"
        trained = state.get(head, state.get(head.removeprefix(self.prefix)))
        if trained is not None:
            self.set_classes(trained.shape[0])
        load_state(self, state, given=given)


def _named(name: str, allowed: list[str], key: str) -> str:
    """The layer that a user names, among those that would do."""
    if f"net.{name}" not in allowed:
        names = [other.removeprefix("net.") for other in allowed]
        raise UserError(
            f"{key}={name}: allowed is one of {', '.join(names)}{did_you_mean(name, names)}"
        )
    return f"net.{name}"


class _Call(NamedTuple):
    layer: nn.Module
    side: int | None  # pixels, where a square map [B, C, H, W] is put out and stays as it is


def _trace(model: nn.Module, *, image_size: int, given: str) -> dict[str, _Call]:
    """The layers that a forward pass of one image calls, in the order in which they finish."""
    outputs: dict[str, tuple[object, int]] = {}

    def record(name: str, output: object) -> None:
        outputs.pop(name, None)  # a layer that is called twice finishes with its last call
        outputs[name] = (output, output._version if isinstance(output, Tensor) else 0)

    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: record(name, output))
        for name, layer in model.named_modules()
        if name
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"{given}: takes no images of {image_size} x {image_size} pixels "
            f"({first_line(error)}); choose another data.image_size"
        ) from error
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return {
        name: _Call(model.get_submodule(name), _side(output, version))
        for name, (output, version) in outputs.items()
    }


def _side(output: object, version: int) -> int | None:
    if not isinstance(output, Tensor) or output.ndim != 4 or output._version != version:
        return None
    height, width = output.shape[2:]
    return height if height == width else None


def _stages(net: nn.Module, calls: Mapping[str, _Call], *, classifier: str) -> tuple[str, ...]:
    named = [name for name, _ in net.named_children() if re.fullmatch(r"layer\d+", name)]
    if named:
        return tuple(f"net.{name}" for name in named)
    candidates = set(_candidates(net, "net.", calls, classifier=classifier))
    layers = [name for name in calls if name in candidates]
    groups = itertools.groupby(layers, key=lambda name: calls[name].side)
    return tuple(list(group)[-1] for _, group in groups)


def _candidates(
    module: nn.Module,
    prefix: str,
    calls: Mapping[str, _Call],
    *,
    classifier: str,
    open_sequential: bool = True,
) -> Iterator[str]:
    for child_name, child in module.named_children():
        name = prefix + child_name
        if isinstance(child, _NO_STAGE) or f"{classifier}.".startswith(f"{name}."):
            continue
        opened = open_sequential and _changes_inside(child, name, calls)
        if opened or name not in calls:  # a list of layers is never called itself
            yield from _candidates(
                child,
                f"{name}.",
                calls,
                classifier=classifier,
                open_sequential=open_sequential and not opened,
            )
        elif calls[name].side is not None:
            yield name


def _changes_inside(module: nn.Module, name: str, calls: Mapping[str, _Call]) -> bool:
    if type(module) is not nn.Sequential or name not in calls:
        return False
    sides = {
        calls[f"{name}.{child_name}"].side
        for child_name, child in module.named_children()
        if not isinstance(child, _NO_STAGE)
    }
    return len(sides) > 1
