"""Other libraries' classifiers, made to look like kdsweep's own.

The rules, for a network of which nothing is known beforehand:

- ``classifier`` is the last ``nn.Linear`` that a forward pass calls.
- ``stages`` are the children ``layer1``, ``layer2`` ... where there are such; else, of the layers
  in the order in which they are called, the last one at each resolution. Looked at are the
  network's children; an ``nn.Sequential`` is opened where the resolution changes inside it.
  Pooling, dropout and the part that holds the classifier end no stage. A network without maps
  [B, C, H, W] (vision transformers; Swin's maps have the channels last) has no stages.
- ReLUs and their like do not work in place, so that the layer before them can be tapped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdsweep.errors import UserError
from kdsweep.models.base import ImageClassifier
from kdsweep.models.weights import first_line, load_state

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_NO_STAGE = (*_POOLS, nn.Dropout, nn.Identity)


class ForeignClassifier(ImageClassifier):
    """Wraps ``net``, whose layers are named ``net.*``, and finds its stages and its classifier.

    Args:
        net: maps [B, 3, H, W] to logits.
        image_size: pixels, height and width of the images.
        given: what the user gave for the model, as ``key=value``, for the errors.

    Raises:
        UserError: the network takes no images of this size, or has no linear classifier.
    """

    prefix = "net."

    def __init__(self, net: nn.Module, *, image_size: int, given: str) -> None:
        super().__init__()
        self.net = net
        for module in net.modules():
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]  # a bool of the layer's own
        calls = _trace(self, image_size=image_size, given=given)
        linear = [name for name, call in calls.items() if isinstance(call.layer, nn.Linear)]
        if not linear:
            raise UserError(
                f"{given}: does not end in a linear layer, so kdsweep can't give it a new head"
            )
        self.classifier = linear[-1]
        self.stages = _stages(net, calls, classifier=self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        logits: Tensor = self.net(images)
        return logits

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
        head = f"{self.classifier.removeprefix(self.prefix)}.weight"
        trained = state.get(head, state.get(self.prefix + head))
        if trained is not None:
            self.set_classes(trained.shape[0])
        load_state(self, state, given=given)


class _Call(NamedTuple):
    layer: nn.Module
    side: int | None  # pixels, where a square map [B, C, H, W] is put out


def _trace(model: nn.Module, *, image_size: int, given: str) -> dict[str, _Call]:
    """All layers that a forward pass calls, in the order in which they finish.

    Shapes alone are computed: parameters and image lie on the meta device.
    """
    calls: dict[str, _Call] = {}

    def record(name: str, layer: nn.Module, output: object) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        is_map = len(shape) == 4 and shape[2] == shape[3]
        calls.pop(name, None)  # a layer that is called twice finishes with its last call
        calls[name] = _Call(layer, shape[3] if is_map else None)

    handles = [
        layer.register_forward_hook(
            lambda layer, _, output, name=name: record(name, layer, output)
        )
        for name, layer in model.named_modules()
        if name
    ]
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    state = {name: tensor.to("meta") for name, tensor in tensors}
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            functional_call(model, state, (image,))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"{given}: takes no images of {image_size} x {image_size} pixels "
            f"({first_line(error)}); choose another data.image_size"
        ) from error
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return calls


def _stages(net: nn.Module, calls: Mapping[str, _Call], *, classifier: str) -> tuple[str, ...]:
    named = [name for name, _ in net.named_children() if re.fullmatch(r"layer\d+", name)]
    if named:
        return tuple(f"net.{name}" for name in named)
    order = {name: i for i, name in enumerate(calls)}
    candidates = set(_candidates(net, "net.", calls, classifier=classifier))
    layers = sorted(candidates, key=order.__getitem__)
    groups = itertools.groupby(layers, key=lambda name: calls[name].side)
    return tuple(list(group)[-1] for _, group in groups)


def _candidates(
    module: nn.Module, prefix: str, calls: Mapping[str, _Call], *, classifier: str
) -> Iterator[str]:
    for child_name, child in module.named_children():
        name = prefix + child_name
        if isinstance(child, _NO_STAGE) or f"{classifier}.".startswith(f"{name}."):
            continue
        if name not in calls or _changes_inside(child, name, calls):
            yield from _candidates(child, f"{name}.", calls, classifier=classifier)
        elif calls[name].side is not None:
            yield name


def _changes_inside(module: nn.Module, name: str, calls: Mapping[str, _Call]) -> bool:
    if type(module) is not nn.Sequential:
        return False
    sides = {
        calls[f"{name}.{child_name}"].side
        for child_name, child in module.named_children()
        if not isinstance(child, _NO_STAGE) and f"{name}.{child_name}" in calls
    }
    return len(sides) > 1
