"""Reading a state dict from a local file, and loading it with errors of one line."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kdsweep.errors import UserError
from kdsweep.models.base import ImageClassifier

State = OrderedDict[str, Tensor]


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


def read_state(path: str, *, option: str) -> State:
    """The tensors of a file, on the CPU.

    A state dict may lie under ``state_dict`` or ``model``, as training scripts save it, and its
    names may begin with ``module.``, as ``DataParallel`` has them.

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
    return rename(state, lambda name: without_prefix(name, "module."))


def _read(file: Path, *, given: str) -> object:
    from safetensors.torch import load_file

    try:
        if _is_safetensors(file):
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a garbled pickle can raise anything
        raise UserError(
            f"{given}: can't be read as safetensors, or as a torch file that holds tensors alone; "
            "save model.state_dict() alone"
        ) from error


def _is_safetensors(file: Path) -> bool:
    """Whether a file begins as safetensors do, whatever its name: a length [8], then JSON."""
    with file.open("rb") as opened:
        return opened.read(9)[8:] == b"{"


def rename(state: Mapping[str, Tensor], new_name: Callable[[str], str]) -> State:
    """The same state under new names; its layers' version numbers stay with it."""
    renamed: State = OrderedDict((new_name(name), value) for name, value in state.items())
    versions = getattr(state, "_metadata", None)  # of torch's, by the layers' names
    if versions is not None:
        vars(renamed)["_metadata"] = {new_name(name): value for name, value in versions.items()}
    return renamed


def without_prefix(name: str, prefix: str) -> str:
    """``name`` of a tensor or layer below ``prefix``; the layer that it names itself is ""."""
    return f"{name}.".removeprefix(prefix).removesuffix(".")


def load_state(model: ImageClassifier, state: Mapping[str, Tensor], *, given: str) -> None:
    """Load ``state``, whole and exactly.

    Args:
        model: changed in place.
        state: names with or without the model's prefix.
        given: what the user gave, as ``key=value``, for the errors.

    Raises:
        UserError: names the first tensor that does not fit, and why it may not.
    """
    network = model.unwrapped
    state = rename(state, lambda name: without_prefix(name, model.prefix))
    wanted = network.state_dict()
    for name, value in wanted.items():
        if name in state and state[name].shape != value.shape:
            raise UserError(
                f"{given}: {name} is {list(state[name].shape)} in the file but "
                f"{list(value.shape)} in the model; {_why(model, name, state[name], value)}"
            )
    vars(state).setdefault("_metadata", getattr(wanted, "_metadata", None))
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{given}: {reason}") from error
    # the counters of batch norms are missing from files of torch 0.4, and no one reads them
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    for names, verdict in (
        (missing, "is not in the file"),
        (result.unexpected_keys, "is in the file but not in the model"),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise UserError(f"{given}: {names[0]} {verdict}{more}; it is of another architecture")


def _why(model: ImageClassifier, name: str, found: Tensor, wanted: Tensor) -> str:
    if name.startswith(without_prefix(model.classifier, model.prefix) + "."):
        return f"the file is for {found.shape[0]} classes, the data has {wanted.shape[0]}"
    return "the file is of another architecture, width or image size"
