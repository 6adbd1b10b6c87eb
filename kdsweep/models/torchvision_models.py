"""Torchvision's classification models, by name, with its weights or with a local file's."""

from __future__ import annotations

import difflib
import re
from typing import Any

from torch import nn

from kdsweep.errors import UserError, first_line
from kdsweep.models.foreign import ForeignClassifier
from kdsweep.models.weights import State, read_state, rename

# Densenets were saved before module names could hold no dots.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads of training alone, which are not built here


def torchvision_names() -> list[str]:
    """The names of torchvision's classification models."""
    from torchvision import models

    return list(models.list_models(module=models))


def create_torchvision(
    name: str, *, weights: str | None, classes: int, image_size: int, key: str
) -> ForeignClassifier:
    """A torchvision model with a head of ``classes`` outputs.

    Weights bring their own head; it stays only where it has ``classes`` outputs.

    Args:
        name: torchvision's name, such as ``resnet50``.
        weights: torchvision's name of them, such as ``IMAGENET1K_V2``, or a file; null draws
            torchvision's own initialisation.
        classes: outputs of the head.
        image_size: pixels, height and width.
        key: how the user names the model, such as ``pair.teacher``, for the errors.

    Raises:
        UserError: no such model, no such weights, no download, or they do not fit.
    """
    names = torchvision_names()
    given = f"{key}.name=torchvision/{name}"
    if name not in names:
        near = [f"torchvision/{match}" for match in difflib.get_close_matches(name, names)]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"{given}: no such model; {hint}torchvision.models.list_models() has their names"
        )
    state = None if weights is None else _state(name, weights, option=f"{key}.weights")
    net = _build(name, image_size=image_size, pretrained=state is not None, given=given)
    model = ForeignClassifier(net, image_size=image_size, given=given)
    if state is not None:
        model.load_pretrained(state, given=f"{key}.weights={weights}")
    model.set_classes(classes)
    return model


def _state(name: str, weights: str, *, option: str) -> State:
    from torchvision.models import get_model_weights

    known = get_model_weights(name).__members__
    if weights in known:
        state = _download(known[weights], option=option)
    elif re.fullmatch(r"\w+", weights):
        raise UserError(
            f"{option}={weights}: not one of torchvision's weights for {name}, which are "
            f"{', '.join(known)}; a file needs its path and its ending"
        )
    else:
        state = read_state(weights, option=option)
    for key in [key for key in state if key.startswith(_AUXILIARY)]:
        del state[key]
    return rename(state, lambda key: _OLD_DENSENET.sub(r"\1", key))


def _download(weights: Any, *, option: str) -> State:
    try:
        state: State = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{option}={weights.name}: can't be downloaded from {weights.url} "
            f"({first_line(error)}); fetch that file elsewhere and give {option}=FILE"
        ) from error
    return state


def _build(name: str, *, image_size: int, pretrained: bool, given: str) -> nn.Module:
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options = {"image_size": image_size}
    elif name.startswith("maxvit_"):
        options = {"input_size": (image_size, image_size)}
    elif name in ("googlenet", "inception_v3"):
        # torchvision's weights for these expect images normalised in another way
        options = {"aux_logits": False, "transform_input": pretrained, "init_weights": True}
    try:
        net: nn.Module = get_model(name, weights=None, **options)
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"{given}: takes no images of {image_size} x {image_size} pixels "
            f"({first_line(error)}); choose another data.image_size"
        ) from error
    return net
