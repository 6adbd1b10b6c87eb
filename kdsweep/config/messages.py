"""Hydra's and OmegaConf's errors in one line: what was given, what is allowed, how to mend it."""

from __future__ import annotations

import difflib
import re
from typing import Any

# What OmegaConf says of a value that its type does not take, and what is allowed instead.
_ALLOWED = {
    r"Value '(.*)' of type '.*' could not be converted to Integer": "a whole number",
    r"Value '(.*)' of type '.*' could not be converted to Float": "a number",
    r"Value '(.*)' is not a valid bool": "true or false",
    r"Cannot convert '.*' to string: '(.*)'": "one word or quoted text",
    r"field '.*' is not Optional": "a value, not null",
}


def hydra_line(error: BaseException) -> str:
    """The line for an error of composing the configuration."""
    text = str(error)
    return (
        _needs_sweep(text)
        or _unreadable(text)
        or _unknown_option(text)
        or _not_chosen(text)
        or _in_file(text)
        or _unknown_key(text)
        or _wrong_value(error)
        or " ".join(text.split())
    )


def _needs_sweep(text: str) -> str | None:
    several = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if several is not None:
        return f"{several.group(1)}: several values are a sweep; add -m"
    axis = re.search(r"Sweeping over Hydra's configuration is not supported : '(.*)'", text)
    if axis is not None:
        return f"{axis.group(1)}: is no axis of a sweep; give one value"
    if "hydra.mode changed during config composition" in text:
        return "search=... and presets that sweep need -m: python -m kdsweep -m ..."
    return None


def _unreadable(text: str) -> str | None:
    found = re.search(r"Error when parsing index: (\d+), string: (.*?) out of \[", text, re.DOTALL)
    if found is None:
        return None
    given = found.group(2)
    key, equals, value = given.partition("=")
    if not equals:
        return f"{given}: allowed is key=value, or group=option"
    return f"{given}: can't be read; quote what holds spaces or signs: \"{key}='{value}'\""


def plain_line(error: BaseException, arguments: list[str]) -> str | None:
    """The line for what Hydra has no error of its own for; None for all else."""
    text = str(error)
    mark = getattr(error, "problem_mark", None)
    if mark is not None:  # PyYAML's
        what = getattr(error, "problem", None) or "it can't be read"
        return f"{mark.name}, line {mark.line + 1}: is no YAML: {what}"
    if isinstance(error, ValueError) and "Config group override" in text:
        return _option_line(arguments)
    plugin = re.match(r"Unknown plugin class : '(.*)'", text)
    if plugin is not None:
        return (
            f"{plugin.group(1)}: is no sweeper and no launcher; choose them with "
            "hydra/sweeper=kdsweep and hydra/launcher=fused"
        )
    handler = re.match(r"Unable to configure (\w+ '.*?')", text)
    if handler is not None:
        return f"hydra.job_logging, {handler.group(1)}: allowed are the classes of logging.*"
    if isinstance(error, ValueError) and text.startswith("Only one of --"):
        return text.replace("can be specified", "is allowed at a time")
    return None


def _option_line(arguments: list[str]) -> str | None:
    """The line for a choice that is no name (data=null)."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from kdsweep.config.paths import conf_dir

    groups = {p.name: p for p in conf_dir().iterdir() if p.is_dir()}
    given = [one for one in arguments if "=" in one and not one.startswith("-")]
    for override in OverridesParser.create().parse_overrides(given):
        value = override.value()
        if override.key_or_group in groups and not isinstance(value, (str, list)):
            folder = groups[override.key_or_group]
            options = sorted(path.stem for path in folder.glob("*.yaml"))
            return f"{override.input_line}: allowed is one of {_join(options)}"
        if not override.key_or_group:
            return f"{override.input_line}: has no key; write key=value"
    return None


def _unknown_option(text: str) -> str | None:
    found = re.search(r"Could not find '([^']+)/([^'/]*)'", text)
    if found is None:
        return None
    group, option = found.groups()
    listed = text.partition("Available options")[2].partition("Config search path")[0]
    options = re.findall(r"^\t(.+)$", listed, re.MULTILINE)
    return f"{group}={option}: no such option{_nearest(option, options)}; one of {_join(options)}"


def _unknown_key(text: str) -> str | None:
    found = re.search(r"Could not override '([^']+)'", text)
    group = re.search(r"Could not override '([^']+)'.\s*No match in the defaults list", text)
    if group is not None:
        from kdsweep.config.paths import conf_dir

        groups = sorted(p.name for p in conf_dir().iterdir() if p.is_dir())
        name = group.group(1)
        return f"{name}: no such group{_nearest(name, groups)}; one of {_join(groups)}"
    if found is None:
        return None
    keys = _all_keys()
    key = found.group(1)
    return f"{key}: no such key{_nearest(key, keys)}; python -m kdsweep --cfg job lists them all"


def _not_chosen(text: str) -> str | None:
    """An option of what makes images, where nothing does."""
    found = re.search(r"Error merging override \+*(distill\.(inversion|generator)\.\S+)", text)
    if found is None:
        return None
    methods = {"inversion": "deep_inversion", "generator": "data_free"}
    return f"{found.group(1)}: allowed with distill={methods[found.group(2)]}"


def _in_file(text: str) -> str | None:
    """A wrong key or value in a file of --config-dir."""
    found = re.match(
        r"In '([^']+)': \w+ raised while composing config:\s*([^\n]*).*?full_key: (\S+)",
        text,
        re.DOTALL,
    )
    if found is None:
        return None
    file, message, key = found.groups()
    if re.match(r"Key '.*' (is )?not in ", message):
        return f"{file}.yaml: {key}: no such key{_nearest(key, _all_keys())}"
    return f"{file}.yaml: {_key_line(key, message)}"


def _wrong_value(error: BaseException) -> str | None:
    cause = error.__cause__ if error.__cause__ is not None else error
    key = getattr(cause, "full_key", None)
    message = str(getattr(cause, "msg", None) or cause).splitlines()[0]
    return _key_line(key, message) if key else None


def _key_line(key: str, message: str) -> str:
    for pattern, allowed in _ALLOWED.items():
        found = re.match(pattern, message)
        if found is not None:
            given = found.group(1) if found.groups() else "null"
            return f"{key}={given}: allowed is {allowed}"
    return f"{key}: {message}"


def _nearest(given: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(given, allowed, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _join(names: list[str]) -> str:
    return ", ".join(names) if names else "(none)"


def _all_keys() -> list[str]:
    from dataclasses import fields, is_dataclass

    from kdsweep.config import Config

    def walk(value: Any, prefix: str) -> list[str]:
        keys = []
        for field in fields(value):
            child = getattr(value, field.name)
            keys.append(prefix + field.name)
            if is_dataclass(child):
                keys.extend(walk(child, f"{prefix}{field.name}."))
        return keys

    return walk(Config(), "")
