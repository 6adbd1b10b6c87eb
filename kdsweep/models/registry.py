"""Models by name: kdsweep's own, a user's, and the way to torchvision's and timm's."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError
from kdsweep.models.base import ImageClassifier
from kdsweep.models.cifar_cnn import CifarStudent, CifarTeacher
from kdsweep.models.cifar_resnet import CifarResNet
from kdsweep.models.mobilenetv2 import MobileNetV2
from kdsweep.models.shufflenetv2 import ShuffleNetV2
from kdsweep.models.size import refuse_too_large
from kdsweep.models.timm_models import create_timm
from kdsweep.models.torchvision_models import create_torchvision, torchvision_names
from kdsweep.models.user_models import Builder, UserModel, create_user_model, user_model
from kdsweep.models.vgg import Vgg
from kdsweep.models.weights import load_weights
from kdsweep.models.wide_resnet import WideResNet
from kdsweep.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How a model is built: ``build(classes=...)`` and what else it takes."""

    build: Callable[..., ImageClassifier]
    has_width: bool = False
    has_image_size: bool = False


_THIN = (16, 16, 32, 64)
_WIDE = (32, 64, 128, 256)  # the literature's "x4": the groups are 4 times as wide, the stem twice


def _resnet(depth: int, channels: tuple[int, int, int, int]) -> Architecture:
    return Architecture(build=partial(CifarResNet, depth=depth, channels=channels))


def _wide_resnet(depth: int, widen: int) -> Architecture:
    return Architecture(build=partial(WideResNet, depth=depth, widen=widen))


def _vgg(convolutions: int) -> Architecture:
    return Architecture(build=partial(Vgg, convolutions=convolutions), has_image_size=True)


ARCHITECTURES: Registry[Architecture | UserModel] = Registry(
    "model",
    {
        "cifar_teacher": Architecture(build=CifarTeacher, has_width=True),
        "cifar_student": Architecture(build=CifarStudent, has_width=True),
        "resnet8": _resnet(8, _THIN),
        "resnet20": _resnet(20, _THIN),
        "resnet32": _resnet(32, _THIN),
        "resnet56": _resnet(56, _THIN),
        "resnet110": _resnet(110, _THIN),
        "resnet8x4": _resnet(8, _WIDE),
        "resnet32x4": _resnet(32, _WIDE),
        "wrn_16_1": _wide_resnet(16, 1),
        "wrn_16_2": _wide_resnet(16, 2),
        "wrn_40_2": _wide_resnet(40, 2),
        "vgg8": _vgg(1),
        "vgg13": _vgg(2),
        "mobilenetv2": Architecture(build=partial(MobileNetV2, multiplier=0.5)),
        "shufflenetv2": Architecture(build=ShuffleNetV2),
    },
)
_LIBRARIES = {"torchvision": create_torchvision, "timm": create_timm}


def model_names() -> tuple[str, ...]:
    """The names of kdsweep's own models; ``torchvision/<name>`` and ``timm/<name>`` are others."""
    return ARCHITECTURES.names()


def register_model(
    name: str,
    *,
    classifier: str | None = None,
    stages: tuple[str, ...] | None = None,
    help: str | None = None,
) -> Callable[[Builder], Builder]:
    """Make a class or a function known as ``pair.student.name=NAME``, ``pair.teacher.name=NAME``.

    It is called with ``classes`` or ``num_classes``, with ``image_size`` and ``width`` where its
    signature has them, and with ``pair.student.kwargs``; it returns an ``nn.Module`` that maps
    images [B, 3, H, W] to logits [B, classes], drawn from torch's global generator.

    Args:
        name: as in the configuration.
        classifier: the name of its last ``nn.Linear``, whose input is the embedding; None: the
            last one that a forward pass calls.
        stages: the names of the layers that end each stage, shallow to deep; None: the last layers
            at each resolution, as ``kdsweep.models.foreign`` finds them.
        help: a sentence for ``--help``; None: the docstring's first paragraph.

    Raises:
        UserError: the name is taken, or the signature has no number of classes.
    """

    def add(build: Builder) -> Builder:
        made = user_model(name, build, classifier=classifier, stages=stages)
        ARCHITECTURES.add(name, made, origin=build.__module__, help=help)
        return build

    return add


def create_model(
    config: ModelConfig, *, classes: int, image_size: int, key: str = "pair.student"
) -> ImageClassifier:
    """A new model, with its architecture's initialisation from torch's global generator.

    ``weights``, where given, replace that initialisation. A torchvision or timm model then keeps
    their head only where it has ``classes`` outputs; kdsweep's own want them to fit.

    Args:
        config: the model's name, width, weights, and arguments where it is a user's.
        classes: K, outputs of the classifier.
        image_size: pixels, height and width of the images.
        key: how the user names this model, such as ``pair.teacher``, for the errors.

    Raises:
        UserError: no such model, no width in its family, arguments that it does not take, or
            weights that can't be had or do not fit.
    """
    library, slash, rest = config.name.partition("/")
    create = _LIBRARIES.get(library) if slash else None
    architecture = ARCHITECTURES.find(config.name)
    if architecture is None and create is None:
        raise UserError(f"{key}.name={config.name}: {_no_such_model(config.name)}")
    if config.width != 1 and not (architecture and architecture.has_width):
        families = ", ".join(name for name in ARCHITECTURES if ARCHITECTURES[name].has_width)
        raise UserError(
            f"{key}.width={config.width:g}: allowed is 1, since {config.name} has no width; "
            f"those that have one are {families}"
        )
    if isinstance(architecture, UserModel):
        return create_user_model(
            architecture, config, classes=classes, image_size=image_size, key=key
        )
    if config.kwargs:
        raise UserError(
            f"{key}.kwargs={config.kwargs}: allowed is {{}}, since {config.name} is no plugin's "
            "model"
        )
    if create is not None:
        return create(
            rest, weights=config.weights, classes=classes, image_size=image_size, key=key
        )
    assert architecture is not None
    options: dict[str, float] = {}
    if architecture.has_width:
        options["width"] = config.width
    if architecture.has_image_size:
        options["image_size"] = image_size
    if config.width > 1:
        refuse_too_large(partial(architecture.build, classes=classes, **options), config, key)
    model = architecture.build(classes=classes, **options)
    if config.weights is not None:
        load_weights(model, config.weights, option=f"{key}.weights")
    return model


def _no_such_model(name: str) -> str:
    own = model_names()
    near = difflib.get_close_matches(name.lower(), own)
    if name.lower() in torchvision_names():
        near.insert(0, f"torchvision/{name.lower()}")
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"no such model; {hint}one of: {', '.join(own)}, torchvision/<name> or timm/<name>"
