"""How large a model is, before it takes any memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from kdsweep.config import ModelConfig
from kdsweep.errors import UserError

MOST_PARAMETERS = 500_000_000  # with gradients and Adam's moments 8 GB, in every member


def count_parameters(build: Callable[[], nn.Module]) -> int:
    """The parameters of the model that ``build`` makes, counted without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def refuse_too_large(build: Callable[[], nn.Module], config: ModelConfig, key: str) -> None:
    """Let no width make a model that no machine could train.

    Args:
        build: makes the model.
        config: the model's name and width.
        key: how the user names it, such as ``pair.student``.

    Raises:
        UserError: it would have more than ``MOST_PARAMETERS``.
    """
    count = count_parameters(build)
    if count > MOST_PARAMETERS:
        raise UserError(
            f"{key}.width={config.width:g}: makes {config.name} a model of {count:,} parameters; "
            f"allowed are up to {MOST_PARAMETERS:,}, so lower the width"
        )
