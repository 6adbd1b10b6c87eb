"""What is written down of a stored network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1  # raise it when a field comes, goes or changes its meaning


@dataclass(frozen=True, kw_only=True)
class NetworkMeta:
    """How a stored network was made, and what was measured of it on the evaluation images."""

    name: str  # of its architecture
    seed: int
    classes: int
    split: str  # of the evaluation images: validation, or test in the published protocol
    images: int = 0  # how many those are
    metrics: dict[str, float] = field(default_factory=dict)  # as they are logged: val_accuracy
    per_class: dict[str, float] = field(default_factory=dict)  # percent right, by class
    costs: dict[str, float] = field(default_factory=dict)  # parameters, FLOPs, latency
    history: list[dict[str, float]] = field(default_factory=list)  # metrics of each epoch
    seconds: float = 0.0  # that training took

    @property
    def prefix(self) -> str:
        """In front of its metrics' names: val, test."""
        return "val" if self.split == "validation" else self.split

    @property
    def accuracy(self) -> float:
        """Percent of the evaluation images."""
        return self.metrics[f"{self.prefix}_accuracy"]

    def to_json(self) -> dict[str, Any]:
        """The inverse of ``from_json``."""
        return {"version": VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> NetworkMeta | None:
        """What ``to_json`` gave; None of another version. Keys beside the fields are left."""
        if content.get("version") != VERSION:
            return None
        return cls(**{f.name: content[f.name] for f in dataclasses.fields(cls)})
