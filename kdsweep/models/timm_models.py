"""Timm's classification models, by name, with its weights or with a local file's.

timm is optional: it is imported only for a model that is asked for by ``timm/<name>``.
"""

from __future__ import annotations

import difflib
from types import ModuleType

from kdsweep.errors import UserError, first_line
from kdsweep.models.foreign import ForeignClassifier
from kdsweep.models.weights import read_state

DEFAULT = "DEFAULT"  # the weights that timm has for this name


def create_timm(
    name: str, *, weights: str | None, classes: int, image_size: int, key: str
) -> ForeignClassifier:
    """A timm model with a head of ``classes`` outputs.

    Args:
        name: timm's name, with or without the tag of its weights, such as ``resnet50.a1_in1k``.
        weights: ``DEFAULT`` for timm's own, or a file, whose head stays only where it has
            ``classes`` outputs; null draws timm's initialisation.
        classes: outputs of the head.
        image_size: pixels, height and width.
        key: how the user names the model, such as ``pair.teacher``, for the errors.

    Raises:
        UserError: no timm, no such model, no download, or weights that do not fit.
    """
    given = f"{key}.name=timm/{name}"
    timm = _import_timm(given)
    if not timm.is_model(name):
        near = [f"timm/{match}" for match in difflib.get_close_matches(name, timm.list_models())]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"{given}: no such model; {hint}timm.list_models() has their names")
    option = f"{key}.weights"
    state = None if weights in (None, DEFAULT) else read_state(str(weights), option=option)
    try:
        net = timm.create_model(name, pretrained=weights == DEFAULT, num_classes=classes)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{given}: timm can't make it with {option}={weights} ({first_line(error)}); "
            f"without a network, fetch its weights elsewhere and give {option}=FILE"
        ) from error
    model = ForeignClassifier(net, image_size=image_size, given=given)
    if state is not None:
        model.load_pretrained(state, given=f"{option}={weights}")
        model.set_classes(classes)
    return model


def _import_timm(given: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f'{given}: timm is not installed; python -m pip install "timm>=1.0"'
        ) from error
    module: ModuleType = timm
    return module
