"""Models that a plugin registers: any module that maps images to logits, and its arguments."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import TypeVar

import torch
from torch import Tensor, nn

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError, first_line
from kdsweep.models.base import ImageClassifier
from kdsweep.models.foreign import ForeignClassifier
from kdsweep.models.weights import load_weights
from kdsweep.registry import did_you_mean

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])
_CLASSES = ("classes", "num_classes")
_GIVEN = (*_CLASSES, "image_size", "width")  # by kdsweep, where the signature has them


@dataclass(frozen=True, kw_only=True)
class UserModel:
    """How a plugin's model is built, and what is named of its layers; None where it is not."""

    build: Callable[..., nn.Module]
    parameters: Mapping[str, inspect.Parameter]
    classifier: str | None
    stages: tuple[str, ...] | None

    @property
    def has_width(self) -> bool:
        """Whether it takes ``pair.student.width``."""
        return "width" in self.parameters

    @property
    def arguments(self) -> list[str]:
        """The names that ``pair.student.kwargs`` may have."""
        plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return [k for k, p in self.parameters.items() if p.kind in plain and k not in _GIVEN]

    @property
    def takes_any(self) -> bool:
        """Whether it takes arguments of any name."""
        return any(p.kind == inspect.Parameter.VAR_KEYWORD for p in self.parameters.values())


def user_model(
    name: str,
    build: Callable[..., nn.Module],
    *,
    classifier: str | None,
    stages: tuple[str, ...] | None,
) -> UserModel:
    """What is known of a model by its signature.

    Raises:
        UserError: it is no class and no function, or has no number of classes.
    """
    kind = type(build)
    if not issubclass(kind, type | FunctionType):  # others say of no module that they are its
        raise UserError(f"model {name}: is a {kind.__name__}; allowed is a class or a function")
    parameters = inspect.signature(build).parameters
    made = UserModel(build=build, parameters=parameters, classifier=classifier, stages=stages)
    if not made.takes_any and not any(key in parameters for key in _CLASSES):
        raise UserError(
            f"model {name}: its signature ({', '.join(parameters)}) has no number of classes; "
            "give it a parameter classes, or num_classes"
        )
    return made


def create_user_model(
    architecture: UserModel, config: ModelConfig, *, classes: int, image_size: int, key: str
) -> ImageClassifier:
    """A plugin's model, with its own initialisation or with the weights of a file.

    Args:
        architecture: what was registered.
        config: with the arguments for it, its width and its weights.
        classes: K.
        image_size: pixels, height and width.
        key: how the user names the model, such as ``pair.teacher``, for the errors.

    Raises:
        UserError: it can't be built with these arguments, gives no logits, or has no linear
            classifier; or the weights do not fit.
    """
    given = f"{key}.name={config.name}"
    net = _build(architecture, config, classes=classes, image_size=image_size, key=key)
    check_logits(net, classes=classes, image_size=image_size, given=given)
    model = net
    if not isinstance(model, ImageClassifier):
        model = ForeignClassifier(
            net,
            image_size=image_size,
            given=given,
            classifier=architecture.classifier,
            stages=architecture.stages,
        )
    if config.weights is not None:
        load_weights(model, config.weights, option=f"{key}.weights")
    return model


def _build(
    architecture: UserModel, config: ModelConfig, *, classes: int, image_size: int, key: str
) -> nn.Module:
    allowed = architecture.arguments
    for name in () if architecture.takes_any else config.kwargs:
        if name not in allowed:
            raise UserError(
                f"{key}.kwargs.{name}={config.kwargs[name]}: allowed arguments of {config.name} "
                f"are {', '.join(allowed) or '(none)'}{did_you_mean(name, allowed)}"
            )
    for name in allowed:
        if name not in config.kwargs and _is_required(architecture.parameters[name]):
            raise UserError(f"{key}.kwargs.{name}: {config.name} needs a value for it")
    known = {"image_size": image_size, "width": config.width}
    arguments = {k: v for k, v in known.items() if k in architecture.parameters}
    number = next((k for k in _CLASSES if k in architecture.parameters), _CLASSES[0])
    try:
        net = architecture.build(**{number: classes}, **arguments, **config.kwargs)
    except Exception as error:  # whatever a user's code raises
        what = ", ".join(f"{k}={v}" for k, v in config.kwargs.items()) or "{}"
        raise UserError(
            f"{key}.name={config.name}: can't be built with {key}.kwargs {what}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise UserError(
            f"{key}.name={config.name}: builds a {type(net).__name__}; allowed is an nn.Module"
        )
    return net


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


@torch.no_grad()
def check_logits(net: nn.Module, *, classes: int, image_size: int, given: str) -> None:
    """See that a network maps images to logits.

    Args:
        net: left as it is.
        classes: K.
        image_size: pixels, height and width.
        given: what the user gave for the model, for the errors.

    Raises:
        UserError: it raises an error, or gives something else.
    """
    images = torch.zeros(2, 3, image_size, image_size)
    training = net.training
    net.eval()
    try:
        logits: object = net(images)
    except Exception as error:  # whatever a user's code raises
        raise UserError(
            f"{given}: of images {list(images.shape)} its forward pass raises "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        net.train(training)
    shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != [2, classes]:
        raise UserError(
            f"{given}: of images {list(images.shape)} it gives {shape}; allowed are logits "
            f"[2, {classes}]"
        )


def check_network(model: nn.Module, *, image_size: int, given: str) -> None:
    """See that every parameter learns, and that an image's logits depend on that image alone.

    Args:
        model: left as it is.
        image_size: pixels, height and width.
        given: what the user gave for the model, for the errors.

    Raises:
        UserError: names the first parameter that is frozen or unused, or says what is wrong.
    """
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    if frozen:
        raise UserError(
            f"{given}: its parameter {frozen[0]} is frozen, but every parameter is trained; make "
            "it a buffer (register_buffer)"
        )
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, image_size, image_size, generator=draw)
    tried = copy.deepcopy(model).train()
    named = dict(tried.named_parameters())
    with torch.random.fork_rng(devices=[]):
        logits = tried(images)
    found = (
        torch.autograd.grad(logits.logsumexp(-1).sum(), list(named.values()), allow_unused=True)
        if logits.requires_grad
        else (None,) * len(named)
    )
    unused = [name for name, gradient in zip(named, found, strict=True) if gradient is None]
    if unused:
        raise UserError(
            f"{given}: its parameter {unused[0]} has no gradient; leave out what forward does not "
            "use, and what cuts gradients off (detach, no_grad)"
        )
    tried.eval()
    with torch.no_grad():
        together, alone = tried(images)[:1], tried(images[:1])
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"{given}: an image's logits depend on the images beside it (first logit alone "
            f"{float(alone[0, 0]):.6g}, in a batch of 4 {float(together[0, 0]):.6g}); look for a "
            "reshape or a mean over dim 0"
        )
