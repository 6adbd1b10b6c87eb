"""The formats of a packaged model: how each is written, and read without this package's code."""

from __future__ import annotations

import importlib.util
import json
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdsweep.errors import KdsweepError, UserError, first_line
from kdsweep.models.registry import ARCHITECTURES
from kdsweep.package.classifier import (
    Classifier,
    Logits,
    Model,
    Pixels,
    create_classifier,
    of_module,
)
from kdsweep.package.manifest import Manifest
from kdsweep.plugins import source_of

SAFETENSORS = "safetensors"
INPUT, OUTPUT = "images", "logits"
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_EMBEDDED = "model.json"  # in a file of torch.export's


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model that was read from a file."""

    manifest: Manifest
    logits: Model


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format."""

    name: str  # as the user writes it
    file: str
    by: str  # what runs it, for a person
    write: Callable[[Path, Classifier, Manifest], None]
    open: Callable[[Path], Opened]


def formats_of(given: str) -> tuple[Format, ...]:
    """The formats of a comma list.

    Raises:
        UserError: an unknown one, or one whose libraries are missing.
    """
    names = list(dict.fromkeys(given.split(",")))
    for name in names:
        if name not in FORMATS:
            raise UserError(
                f"formats={given}: {name or 'an empty name'} is none; allowed are "
                f"{', '.join(FORMATS)}, with commas between them"
            )
    if "onnx" in names:
        missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
        if missing:
            rest = ",".join(name for name in names if name != "onnx") or "safetensors,export"
            raise UserError(
                f"formats={given}: onnx needs {', '.join(missing)}; python -m pip install "
                f'"kdsweep[onnx]", or leave it out: formats={rest}'
            )
    return tuple(FORMATS[name] for name in names)


def open_model(path: Path) -> Opened:
    """A packaged model: its folder, or one of its files.

    Raises:
        UserError: there is none, or it can't be read.
    """
    given = f"model={path}"
    if path.is_dir():
        there = [one for one in FORMATS.values() if (path / one.file).is_file()]
        if not there:
            files = ", ".join(one.file for one in FORMATS.values())
            raise UserError(f"{given}: holds none of {files}; python -m kdsweep.package makes one")
        if len(there) > 1 and there[0].name == SAFETENSORS and _code_lacks(path / there[0].file):
            there = there[1:]
        return there[0].open(path / there[0].file)
    suffixes = {Path(one.file).suffix: one for one in FORMATS.values()}
    if path.suffix not in suffixes:
        raise UserError(
            f"{given}: allowed is a package's folder, or a file *{', *'.join(suffixes)}"
        )
    if not path.is_file():
        raise UserError(f"{given}: no such file")
    return suffixes[path.suffix].open(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise what a file's reader does wrong as one line."""
    try:
        yield
    except KdsweepError:
        raise
    except Exception as error:  # each reader has its own
        raise UserError(
            f"model={path}: can't be read as a model that kdsweep.package wrote "
            f"({first_line(error)})"
        ) from error


@contextmanager
def _exporting(name: str, manifest: Manifest) -> Iterator[None]:
    """Raise what an exporter can't do as one line."""
    rest = ",".join(other for other in FORMATS if other != name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own, of how they trace
            yield
    except Exception as error:  # they raise whatever an operator makes them
        raise KdsweepError(
            f"formats: {manifest.architecture} can't be written as {name} "
            f"({first_line(error)[:200]}); leave it out: formats={rest}"
        ) from error


def _write_safetensors(path: Path, classifier: Classifier, manifest: Manifest) -> None:
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in classifier.model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt", **manifest.to_metadata()})


def _open_safetensors(path: Path) -> Opened:
    from safetensors.torch import load_file

    lacking = _code_lacks(path)
    if lacking is not None:
        raise UserError(
            f"model={path}: its architecture is a user's own, whose code this file does not "
            f"hold, and {lacking}; or give the package's model.pt2 or model.onnx"
        )
    with _reading(path):
        manifest = _manifest_of(path)
        classifier = create_classifier(manifest, load_file(path), given=f"model={path}")
    return Opened(manifest=manifest, logits=of_module(classifier))


def _code_lacks(path: Path) -> str | None:
    """Why this process can't make the architecture of a safetensors file; None: it can."""
    with _reading(path):
        manifest = _manifest_of(path)
    name, module = manifest.architecture, manifest.plugin
    if module is None:
        return None
    if name not in ARCHITECTURES:
        return f"no plugin here has {name}: give plugins=[{module}]"
    if source_of("model", name) != manifest.plugin_source:
        return f"{module} is not what it was: put the old one back"
    return None


def _manifest_of(path: Path) -> Manifest:
    return Manifest.from_metadata(_header(path)["__metadata__"])


def _header(path: Path) -> Mapping[str, Any]:
    """The header of a safetensors file: its length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: Mapping[str, Any] = json.loads(file.read(length))
    return header


def _write_export(path: Path, classifier: Classifier, manifest: Manifest) -> None:
    with _exporting("export", manifest):
        about = {_EMBEDDED: json.dumps(manifest.to_json())}
        torch.export.save(classifier.program, path, extra_files=about)


def _open_export(path: Path) -> Opened:
    extra = {_EMBEDDED: ""}
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(path, extra_files=extra)
        manifest = Manifest.from_json(json.loads(extra[_EMBEDDED]))
        module = program.module()
    return Opened(manifest=manifest, logits=of_module(module))


def _write_onnx(path: Path, classifier: Classifier, manifest: Manifest) -> None:
    with _exporting("onnx", manifest):
        program = torch.onnx.export(
            classifier.program,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(manifest.to_metadata())
        program.save(path, external_data=False)


def _open_onnx(path: Path) -> Opened:
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError(
            f'model={path}: needs onnxruntime; python -m pip install "kdsweep[onnx]", or give '
            "another of the package's files"
        )
    import onnxruntime

    with _reading(path):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        manifest = Manifest.from_metadata(session.get_modelmeta().custom_metadata_map)

    def logits(images: Pixels) -> Logits:
        answers: Logits = session.run([OUTPUT], {INPUT: images})[0]
        return answers

    return Opened(manifest=manifest, logits=logits)


FORMATS = {
    one.name: one
    for one in (
        Format(
            name=SAFETENSORS,
            file="model.safetensors",
            by="PyTorch",
            write=_write_safetensors,
            open=_open_safetensors,
        ),
        Format(
            name="onnx", file="model.onnx", by="onnxruntime", write=_write_onnx, open=_open_onnx
        ),
        Format(
            name="export",
            file="model.pt2",
            by="torch.export",
            write=_write_export,
            open=_open_export,
        ),
    )
}
