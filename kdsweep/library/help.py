"""What ``--help`` says of a group, of one of its options, and of what plugins register for it."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsweep.config.paths import conf_dir
from kdsweep.config.reference import Key, keys
from kdsweep.errors import UserError
from kdsweep.library.application import compose
from kdsweep.registry import ORIGINS, Registry, did_you_mean

WIDTH = 99
_CONFIG_DIR = ("--config-dir", "-cd")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line with ``--help`` asks for.

    Attributes:
        groups: that are named, each with its options: ``data=digits``.
        others: the overrides of other keys.
        folder: of a user's own options, by ``--config-dir``.
    """

    groups: Mapping[str, Sequence[str]]
    others: Sequence[str]
    folder: Path | None


def read(arguments: Sequence[str]) -> Asked:
    """What is asked for by a command line.

    Raises:
        UserError: the folder that it names is none.
    """
    known = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"hydra"}
    groups: dict[str, list[str]] = {}
    others, folder = [], None
    rest = iter(arguments)
    for argument in rest:
        key, equals, value = argument.partition("=")
        if key in _CONFIG_DIR:
            folder = Path(value if equals else next(rest, ""))
            if not folder.is_dir():
                raise UserError(f"{key}={folder}: there is no such folder")
        elif key in known:
            groups[key] = [one for one in value.split(",") if one]
        elif equals and not key.startswith("-"):
            others.append(argument)
    return Asked(groups=groups, others=others, folder=folder)


def explain_groups(asked: Asked) -> str:
    """What the keys of the groups do, and how these options set them.

    Raises:
        UserError: there is no such option, or a plugin can't be had.
    """
    lines: list[str] = []
    for group, options in asked.groups.items():
        for option in options or [""]:
            chosen = [f"{group}={option}"] if option else []
            single = [one for one in asked.others if not _is_axis(one)]
            config = _composed(asked, [*chosen, *single], group, option)
            lines += _group(asked, group, option, config)
    return "\n".join(lines).rstrip("\n")


def _is_axis(override: str) -> bool:
    """Whether it has several values, of which help has none to show."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except OverrideParseException:
        return False  # composing says what is wrong with it
    return parsed.is_sweep_override()


def _composed(
    asked: Asked, overrides: Sequence[str], group: str, option: str
) -> Mapping[str, Any]:
    """The configuration, with the plugins that it names imported."""
    from kdsweep import plugins

    folders = [] if asked.folder is None else [asked.folder]
    named = compose([one for one in overrides if one.startswith("plugins=")])["plugins"]
    plugins.load(named, folders)
    plugins.load_installed()
    registry = _registries().get(group)
    if registry is not None and option in registry and option not in _options(asked, group):
        key = {"distill": f"distill.losses.{option}={{}}", "data": f"data.name={option}"}
        raise UserError(
            f"{group}={option}: is the name of a {registry.kind}, not an option of {group}; give "
            f"{key.get(group, f'pair.student.name={option}')}"
        )
    config = compose(overrides, folder=asked.folder)
    plugins.load(config["plugins"], folders)
    return config


def _registries() -> dict[str, Registry[Any]]:
    """What can be registered, by the group whose keys take its names."""
    from kdsweep.data.sources.registered import DATASETS
    from kdsweep.losses.registry import LOSSES
    from kdsweep.models.registry import ARCHITECTURES

    return {"distill": LOSSES, "pair": ARCHITECTURES, "data": DATASETS}


def _options(asked: Asked, group: str) -> dict[str, Path]:
    """The files of a group's options by name; kdsweep's own win."""
    folders = [conf_dir()] if asked.folder is None else [asked.folder, conf_dir()]
    return {path.stem: path for one in folders for path in sorted((one / group).glob("*.yaml"))}


def _group(asked: Asked, group: str, option: str, config: Mapping[str, Any]) -> Iterator[str]:
    options = _options(asked, group)
    yield f"{group}={option}" if option else group
    if option:
        text = options[option].read_text()
        yield from _indented(_head(text), 2)
    else:
        yield from _indented(f"Options: {', '.join(sorted(options))}", 2)
    yield ""
    known = keys(group)
    if not known and option:  # a preset, or a search: it sets keys of others
        body = re.sub(r"\A(#.*\n)*", "", text)
        yield from ("  " + line for line in body.splitlines())
    unset = {key.name.rpartition(".")[0] for key in known if _is_unset(config, key)}
    for key in known:
        if key.name.rpartition(".")[0] not in unset:
            yield from _key(key, value_of(config, key))
    for name in sorted(unset):
        yield from _indented(f"{name}=null (docs/configuration.md has its keys)", 2)
    yield from _registered(group, option, config)
    yield ""


def _registered(group: str, option: str, config: Mapping[str, Any]) -> Iterator[str]:
    """What is registered for a group: what is chosen, and what can be."""
    registry = _registries().get(group)
    if registry is None:
        return
    if group == "distill":
        for name, given in (config["distill"]["losses"] or {}).items():
            yield from _loss(name, given or {})
    if group == "pair" and option:
        for role in ("teacher", "student"):
            yield from _model(role, config["pair"][role]["name"], registry)
    taken = {"distill": "distill.losses.NAME={}", "data": "data=registered data.name=NAME"}
    takes = taken.get(group, "pair.teacher.name=NAME, pair.student.name=NAME")
    own = [name for name in registry if (registry.kind, name) in ORIGINS]
    listed = own if option or group == "data" else list(registry)
    if listed:
        yield ""
        whose = " of plugins" if listed == own else ""
        yield f"  {registry.plural.capitalize()}{whose}, for {takes}"
        for name in listed:
            yield from _named(name, registry.help(name), 4)


def _named(name: str, sentence: str, columns: int) -> Iterator[str]:
    text = f"{name}: {sentence}" if sentence else name
    yield from _indented(text.replace("`", ""), columns, hanging=columns + 2)


def _model(role: str, name: str, models: Registry[Any]) -> Iterator[str]:
    """A pair's model in a sentence, and what a user's own takes."""
    yield ""
    if name not in models:
        missing = "" if "/" in name else f": no such model{did_you_mean(name, models)}"
        yield f"  {role} {name}{missing}"  # torchvision's and timm's have a slash
        return
    yield from _named(f"{role} {name}", models.help(name), 2)
    model = models[name]
    for argument in getattr(model, "arguments", []):
        default = model.parameters[argument].default
        shown = "" if default is inspect.Parameter.empty else shown_value(default)
        yield f"  pair.{role}.kwargs.{argument}={shown}"


def _key(key: Key, value: object) -> Iterator[str]:
    yield f"  {key.name}={shown_value(value)}"
    facts = "; ".join(fact for fact in (key.kind, key.allowed) if fact)
    yield from _indented(f"{key.sentence} ({facts})", 6)


def _loss(name: str, given: Mapping[str, object]) -> Iterator[str]:
    from kdsweep.losses.registry import LOSSES, loss_spec

    loss_spec(name)  # which names the nearest where there is none
    yield ""
    yield from _named(name, LOSSES.help(name), 2)
    for option, default, allowed in loss_options(name):
        yield f"  distill.losses.{name}.{option}={shown_value(given.get(option, default))}"
        yield from _indented(allowed, 6)


def loss_options(name: str) -> Iterator[tuple[str, object, str]]:
    """Each option of a loss with its default and what it allows, which it says when refusing."""
    from kdsweep.losses.registry import loss_spec

    for option, parser in loss_spec(name).all_options.items():
        try:
            parser.parse(option, object())
        except UserError as error:
            yield option, parser.default, str(error).partition("allowed is ")[2]


def value_of(config: Mapping[str, Any], key: Key) -> object:
    """A key's value in a configuration; the schema's where it has none."""
    at: Any = config
    for part in key.name.split("."):
        if not isinstance(at, Mapping) or part not in at:
            return key.default
        at = at[part]
    return at


def _is_unset(config: Mapping[str, Any], key: Key) -> bool:
    """Whether the part of the configuration that the key is in is null."""
    at: Any = config
    for part in key.name.split(".")[:-1]:
        at = at[part]
    return at is None


def shown_value(value: object) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        value = list(value)
    return str(value).replace("'", "")


def _head(text: str) -> str:
    """The comment that a file of the configuration begins with."""
    lines = re.match(r"(#.*\n)*", text)
    assert lines is not None
    found = [line.lstrip("# ") for line in lines.group(0).splitlines()]
    return " ".join(line for line in found if not line.startswith("@package"))


def _indented(text: str, columns: int, *, hanging: int | None = None) -> list[str]:
    space, later = " " * columns, " " * (columns if hanging is None else hanging)
    return textwrap.wrap(text, WIDTH, initial_indent=space, subsequent_indent=later)
