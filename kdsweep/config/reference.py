"""Every key of the configuration in words, read from the schema itself.

A key's sentence is the comment behind its field, and what it allows is what the schema answers
to a value that it refuses: so neither can tell another story than the code.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import io
import math
import re
import tokenize
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kdsweep.config.study import Config
from kdsweep.errors import UserError

_WORDS: dict[object, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Any: "mixed",
    dict: "mapping",
    list: "list",
}
# Values that nobody means, by type: what is refused of them says what is allowed.
_BAD: dict[object, tuple[object, ...]] = {
    int: (-1, 0, 10**30),
    float: (-1.0, math.nan, 1e30),
    str: ("?",),
    Any: ("?",),
    list: ([math.nan],),
}


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: with dots, as on the command line.
        kind: its type in words.
        default: of the schema; a group's option may set another.
        allowed: which values; empty where the type says it all.
        sentence: what it does, and its unit.
    """

    name: str
    kind: str
    default: object
    allowed: str
    sentence: str


def keys(prefix: str = "") -> list[Key]:
    """Every key, or those at and below ``prefix``, in the schema's order."""
    found = _keys(Config, ())
    return [k for k in found if not prefix or k.name == prefix or k.name.startswith(f"{prefix}.")]


def _keys(schema: type, path: tuple[str, ...]) -> Iterator[Key]:
    hints, sentences = typing.get_type_hints(schema), comments(schema)
    for field in dataclasses.fields(schema):
        own = (*path, field.name)
        hint, optional = _without_none(hints[field.name])
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _keys(hint, own)
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield Key(
            name=".".join(own),
            kind=_kind(hint) + (", or null" if optional else ""),
            default=default,
            allowed=_allowed(own, hint),
            sentence=sentences.get(field.name, ""),
        )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [one for one in typing.get_args(hint) if one is not types.NoneType]
        if len(rest) == 1:
            return rest[0], True
    return hint, False


def _kind(hint: Any) -> str:
    if hint == list[float]:
        return "list of numbers"
    return _WORDS[typing.get_origin(hint) or hint]


def _allowed(path: tuple[str, ...], hint: Any) -> str:
    """What the schema says that it allows, when it is given what it does not."""
    name = ".".join(path)
    for value in _BAD.get(typing.get_origin(hint) or hint, ()):
        try:
            _build(Config, path, value)
        except UserError as error:
            found = re.match(rf"{re.escape(name)}=.*?: allowed (?:is|are) (.*)", str(error))
            if found is not None:
                return found.group(1)
    return ""


def _build(schema: type, path: tuple[str, ...], value: object) -> object:
    """The schema's default with one value in it changed, checked as any configuration is."""
    name, *rest = path
    if rest:
        inner, _ = _without_none(typing.get_type_hints(schema)[name])
        value = _build(inner, tuple(rest), value)
    return schema(**{name: value})


@functools.cache
def comments(schema: type) -> Mapping[str, str]:
    """The comment behind each field of a dataclass, or in the line above a long one."""
    source = inspect.cleandoc(inspect.getsource(schema))
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    lines = {
        node.target.id: (node.end_lineno or node.lineno, node.lineno - 1)
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    found = {  # by line; below 0 where nothing else is in it
        token.start[0] * (-1 if token.line.lstrip().startswith("#") else 1): token.string[2:]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    texts = {name: found.get(own, found.get(-above, "")) for name, (own, above) in lines.items()}
    return {name: text for name, text in texts.items() if text}
