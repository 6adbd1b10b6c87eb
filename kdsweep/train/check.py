"""Whether a model of a user's own can be trained, and how, tried before any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError
from kdsweep.models.base import ImageClassifier
from kdsweep.models.registry import create_model
from kdsweep.models.user_models import check_network, create_user_model, user_model
from kdsweep.train.dropout import refuse_other_randomness, seed_dropout
from kdsweep.train.grouped import NotGroupableError, check, group
from kdsweep.train.student import with_adapters


def check_model(
    model: str | Callable[..., nn.Module],
    *,
    classes: int = 10,
    image_size: int = 32,
    **kwargs: Any,
) -> str:
    """See that a model can be trained.

    Args:
        model: a name, or what ``register_model`` takes.
        classes: K.
        image_size: pixels, height and width.
        kwargs: as under ``pair.student.kwargs``.

    Returns:
        A line that says what was found in it: parameters, classifier, stages, and whether its
        members can run as one network.

    Raises:
        UserError: in one line, what is wrong.
    """
    name = model if isinstance(model, str) else model.__name__
    given = f"pair.student.name={name}"
    first, second = (
        _create(model, name, classes=classes, image_size=image_size, kwargs=kwargs)
        for _ in range(2)
    )
    for key, value in first.state_dict().items():
        if not value.equal(second.state_dict()[key]):
            raise UserError(
                f"{given}: {key} is another when it is built again with the same seed, so runs "
                "could not be repeated; draw it from torch's global generator (torch.randn, "
                "nn.init)"
            )
    refuse_other_randomness(first, image_size, given=given)
    check_network(first, image_size=image_size, given=given)
    count = sum(parameter.numel() for parameter in first.parameters())
    stages = ", ".join(stage.removeprefix(first.prefix) for stage in first.stages) or "none"
    return (
        f"{name}: {count:,} parameters; classifier {first.classifier.removeprefix(first.prefix)}; "
        f"stages {stages}; {_together(first, image_size)}"
    )


def _create(
    model: str | Callable[..., nn.Module],
    name: str,
    *,
    classes: int,
    image_size: int,
    kwargs: dict[str, Any],
) -> ImageClassifier:
    config = ModelConfig(name=name, kwargs=kwargs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(model, str):
            return create_model(config, classes=classes, image_size=image_size)
        made = user_model(name, model, classifier=None, stages=None)
        return create_user_model(
            made, config, classes=classes, image_size=image_size, key="pair.student"
        )


def _together(model: nn.Module, image_size: int) -> str:
    student = with_adapters(model, {}, None, image_size)
    seed_dropout(student)
    try:
        check(student, group(student), (3, image_size, image_size))
    except NotGroupableError as error:
        return f"members train one by one ({error})"
    return "members train as one network"
