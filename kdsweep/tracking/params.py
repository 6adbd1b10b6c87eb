"""Nested settings as MLflow's flat parameters, within MLflow's limits of length and spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

# mlflow.utils.validation; longer names are refused, longer values cut or refused by servers.
MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 8000
ELLIPSIS = "…"

_FORBIDDEN = re.compile(r"[^\w\-. :/]")


def flatten(settings: object, prefix: str = "") -> dict[str, str]:
    """Flatten nested dataclasses and mappings to ``{"train.optimizer.lr": "0.001", ...}``.

    Values are spelled as on kdsweep's command line (``null``, ``true``, ``[1,2]``), so that a
    parameter can be pasted as an override. Lists are one parameter each. Keys and values are cut
    to MLflow's limits with an ellipsis.
    """
    return {key_name(key): clip(spell(value), MAX_PARAM) for key, value in _walk(settings, prefix)}


def _walk(settings: object, prefix: str) -> Iterator[tuple[str, object]]:
    items: list[tuple[str, object]]
    if is_dataclass(settings) and not isinstance(settings, type):
        items = [(f.name, getattr(settings, f.name)) for f in fields(settings)]
    elif isinstance(settings, Mapping) and (settings or not prefix):
        items = [(str(key), value) for key, value in settings.items()]
    else:
        yield prefix, settings
        return
    for key, value in items:
        yield from _walk(value, f"{prefix}.{key}" if prefix else key)


def spell(value: object) -> str:
    """One value as Hydra's override grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{spell(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(spell(item) for item in value) + "]"
    return str(value)


def clip(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` characters, the last of them an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + ELLIPSIS


def key_name(key: str) -> str:
    """Spell the name of a parameter, metric or tag with the characters that MLflow allows."""
    name = _FORBIDDEN.sub("_", key)
    return name if len(name) <= MAX_KEY else name[: MAX_KEY - 3] + "..."
