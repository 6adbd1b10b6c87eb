"""Reading a state dict from a local file, and loading it with errors of one line."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kdsweep.errors import UserError
from kdsweep.models.base import ImageClassifier


def load_weights(model: ImageClassifier, path: str, *, option: str) -> None:
    """Load a safetensors file or a torch state dict into a model of the same shape.

    Args:
        model: a model of this package; it is changed in place.
        path: the file.
        option: how the user named it, such as ``pair.teacher.weights``, for the errors.

    Raises:
        UserError: no such file, no state dict, or it does not fit the model.
    """
    load_state(model, read_state(path, option=option), given=f"{option}={path}")


def read_state(path: str, *, option: str) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, by the names that they have in an unwrapped network.

    A state dict may lie under ``state_dict`` or ``model``, as training scripts save it.

    Raises:
        UserError: no such file, or no state dict in it.
    """
    given = f"{option}={path}"
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"{given}: no such file")
    state = _read(file, given=given)
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise UserError(f"{given}: holds no state dict; save model.state_dict() alone")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _read(file: Path, *, given: str) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, SafetensorError) as error:
        raise UserError(
            f"{given}: can't be read as safetensors or as a torch file of tensors alone "
            f"({first_line(error)})"
        ) from error


def load_state(model: ImageClassifier, state: Mapping[str, Tensor], *, given: str) -> None:
    """Load ``state``, whole and exactly.

    Args:
        model: changed in place.
        state: names with or without the model's prefix.
        given: what the user gave, as ``key=value``, for the errors.

    Raises:
        UserError: names the first tensor that does not fit, and why it may not.
    """
    prefix = model.prefix
    state = {prefix + key.removeprefix(prefix): value for key, value in state.items()}
    for key, value in model.state_dict().items():
        if key in state and state[key].shape != value.shape:
            raise UserError(
                f"{given}: {key} is {list(state[key].shape)} in the file but "
                f"{list(value.shape)} in the model; {_why(model, key, state[key], value)}"
            )
    result = model.load_state_dict(state, strict=False)
    for keys, verdict in (
        (result.missing_keys, "is not in the file"),
        (result.unexpected_keys, "is in the file but not in the model"),
    ):
        if keys:
            more = f" (nor are {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise UserError(f"{given}: {keys[0]} {verdict}{more}; it is of another architecture")


def _why(model: nn.Module, key: str, found: Tensor, wanted: Tensor) -> str:
    if key.startswith(f"{model.classifier}."):
        return f"the file is for {found.shape[0]} classes, the data has {wanted.shape[0]}"
    return "the file is of another architecture, width or image size"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".: ") if lines else type(error).__name__
