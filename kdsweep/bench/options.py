"""What a benchmark is asked for, read from ``key=value`` arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.terminal import arguments

STEPS = 40
USAGE = f"""
python -m kdsweep.bench images=FOLDER [members=1,5,25] [steps={STEPS}] [rounds=3]
                        [precisions=float32,bf16] [fuse=auto] [out=DIR] [root=mlruns]

Times one training step of a student, in turns, rounds times over:
  plain   a DataLoader with Pillow transforms and the teacher's forward pass in each step
  solo    kdsweep with one member; fused: with so many members
with system 1's networks, batch 128, and the bank of teacher logits already filled (its cost is
measured apart). FOLDER holds train/<class>/* and test/<class>/*.
It prints a table, and writes bench.json and bench.md to out= (default: ROOT/bench).

  accuracy=E     instead: train E epochs with the plain loop and with kdsweep, seeds=0,1,2 each,
                 on all training images or on limit= of them, and compare their accuracies
  methods=all    instead: time and memory of an epoch of one student with each option of distill,
                 or with those named (hinton,dkd,...), each in a process of its own
"""
DEFAULTS = {
    "images": None, "members": "1,5,25", "steps": str(STEPS), "rounds": "3", "accuracy": None,
    "precisions": "auto", "seeds": "0,1,2", "fuse": "auto", "out": None, "root": "mlruns",
    "limit": None, "methods": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """One benchmark."""

    images: str
    root: str
    out: Path
    members: list[int]
    steps: int
    rounds: int
    precisions: list[str]
    fuse: str
    accuracy: int | None  # epochs
    seeds: list[int]
    limit: int | None  # training images, for accuracy
    methods: list[str] | None


def read(given: list[str]) -> Options:
    """The options that the arguments name.

    Raises:
        UserError: an argument is unknown, missing, or no number where one belongs.
    """
    values = arguments.parse(given, DEFAULTS)
    images, root = values["images"], values["root"]
    if not images:
        raise UserError("images=: name a folder that holds train/<class>/* and test/<class>/*")
    if not root:
        raise UserError("root=: name a folder to write to, such as mlruns")
    methods = values["methods"]
    return Options(
        images=images,
        root=root,
        out=Path(values["out"] or f"{root}/bench"),
        members=_whole(values, "members", least=1),
        steps=_one(values, "steps"),
        rounds=_one(values, "rounds"),
        precisions=(values["precisions"] or "auto").split(","),
        fuse=values["fuse"] or "auto",
        accuracy=None if values["accuracy"] is None else _one(values, "accuracy"),
        seeds=_whole(values, "seeds", least=0),
        limit=None if values["limit"] is None else _one(values, "limit"),
        methods=None if methods is None else methods.split(","),
    )


def _whole(values: Mapping[str, str | None], key: str, *, least: int) -> list[int]:
    """Comma-separated whole numbers."""
    text = values[key] or ""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        raise UserError(f"{key}={text}: allowed are whole numbers from {least} up, as in 1,2,3")
    return found


def _one(values: Mapping[str, str | None], key: str) -> int:
    found = _whole(values, key, least=1)
    if len(found) > 1:
        raise UserError(f"{key}={values[key]}: allowed is one whole number from 1 up")
    return found[0]
