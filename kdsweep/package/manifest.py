"""What a package is: one record, from which every file takes what it says of the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from kdsweep.results.data import Summary, summarise

VERSION = "2"  # raise it when a field comes, goes or changes its meaning


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracies over seeds, in percent."""

    split: str  # validation or test
    images: int
    mean: float
    sd: float | None  # sample standard deviation; None of one seed
    n: int  # seeds that finished

    @classmethod
    def of(cls, by_seed: Mapping[int, float], *, split: str, images: int) -> Self:
        """The scores of some seeds, NaN where one failed."""
        summary: Summary = summarise(by_seed)
        sd = summary.sd if summary.n > 1 else None
        return cls(split=split, images=images, mean=summary.mean, sd=sd, n=summary.n)

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.2f}"
        return f"{self.mean:.2f}{spread} % of {self.images:,} {self.split} images (n = {self.n})"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on the cell: its difference from the same student without a teacher."""

    word: str  # better, worse, equivalent, open
    difference: float  # points
    low: float  # simultaneous interval
    high: float
    level: float  # of the interval, such as 0.95
    n: int  # seeds of the cell
    cells: int  # that were judged together
    split: str
    images: int
    confirmed: bool  # on fresh seeds and on test

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        over = "" if self.cells == 1 else f", simultaneous over {self.cells} cells"
        return (
            f"{_ANSWERS[self.word]} the same student trained without a teacher: "
            f"{self.difference:+.2f} points, {100 * self.level:g} % interval "
            f"[{self.low:+.2f}, {self.high:+.2f}] (n = {self.n} seeds, {self.images:,} "
            f"{self.split} images{over})."
        )


_ANSWERS = {
    "better": "Better than",
    "worse": "Worse than",
    "equivalent": "No different from",
    "open": "Not shown to differ from",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is written down of a packaged model."""

    version: str = VERSION
    kdsweep: str  # its version
    study: str
    role: str  # student, or baseline: the same without a teacher
    cell: str  # what was swept, with its values
    trial: int
    cell_choice: str  # why this cell
    seed: int
    seed_choice: str  # why this seed
    architecture: str
    width: float
    kwargs: Mapping[str, Any]  # of a plugin's architecture, for its function
    plugin: str | None  # the module of a user's that the architecture is of
    plugin_source: str | None  # the hash of its source
    classes: tuple[str, ...]
    image_size: int  # pixels, height and width
    mean: tuple[float, ...]  # of each channel, of pixels from 0 to 1
    std: tuple[float, ...]
    parameters: int
    size_mib: float
    flops_per_image: float
    dataset: str
    training: Mapping[str, str]  # how it was trained, in words
    accuracy: float  # percent, of these very weights
    accuracy_split: str  # on which images
    accuracy_images: int
    expected: Scores  # of the cell
    alone: Scores | None  # of the same student without a teacher
    teacher: Scores | None
    verdict: Judgement | None  # the confirmation's where there is one, else the sweep's
    sweep_verdict: Judgement | None  # the sweep's, of a cell that was confirmed
    verdict_sentence: str
    warning: str | None  # that the same student without a teacher is the better one

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is something else, or of another version.
        """
        if given["version"] != VERSION:
            raise ValueError(f"version {given['version']}, not {VERSION}")
        scores = {name: _made(Scores, given[name]) for name in ("expected", "alone", "teacher")}
        tuples = {name: tuple(given[name]) for name in ("classes", "mean", "std")}
        verdicts = {name: _made(Judgement, given[name]) for name in ("verdict", "sweep_verdict")}
        return cls(**{**given, **scores, **tuples, **verdicts})

    def to_metadata(self) -> dict[str, str]:
        """By field: texts as they are, everything else as JSON."""
        texts = self._texts()
        return {k: v if k in texts else json.dumps(v) for k, v in self.to_json().items()}

    @classmethod
    def from_metadata(cls, given: Mapping[str, str]) -> Self:
        """The inverse of ``to_metadata``; what is there beside the fields is left.

        Raises:
            KeyError, TypeError, ValueError: it is something else, or of another version.
        """
        texts = cls._texts()
        names = [field.name for field in dataclasses.fields(cls)]
        return cls.from_json(
            {name: given[name] if name in texts else json.loads(given[name]) for name in names}
        )

    @classmethod
    def _texts(cls) -> set[str]:
        """The fields that are always texts; one that may be null is told apart as JSON."""
        return {field.name for field in dataclasses.fields(cls) if field.type == "str"}

    @property
    def unhelped(self) -> bool:
        """Whether it has learnt from a teacher, and is not shown to be better for it."""
        better = self.verdict is not None and self.verdict.word == "better"
        return self.role != "baseline" and not better

    @property
    def name(self) -> str:
        """The model in a few words."""
        taught = "without a teacher" if self.role == "baseline" else f"distilled, {self.cell}"
        return f"{self.architecture} for {self.dataset} ({taught})"


def _made(kind: type[Any], given: Mapping[str, Any] | None) -> Any:
    return None if given is None else kind(**given)


def listed(numbers: Sequence[int]) -> str:
    """``0, 1, 2``, of many the first few."""
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown}, ..." if len(numbers) > 10 else shown
