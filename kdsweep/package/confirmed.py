"""A study's confirmation, read from the files that it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsweep.errors import UserError
from kdsweep.evaluate import unpack_correctness
from kdsweep.package.manifest import Judgement
from kdsweep.results.record import Record, read_record
from kdsweep.store import DamagedError, load_json
from kdsweep.verdict.design import LEVEL


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A cell that was trained anew on fresh seeds and read on test."""

    trial: int  # of the study
    point: Mapping[str, str]
    folder: Path  # of its record and weights
    record: Record
    images: int  # of test
    judgement: Judgement | None
    reason: str | None  # why there is no judgement


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """The last confirmation of a study that came to its end."""

    side: str  # best, worst or both: which cells
    finalists: tuple[Finalist, ...]


def find_confirmation(root: Path, study: str) -> Confirmed | None:
    """The confirmation of a study; None where it has none.

    Raises:
        UserError: its files are damaged or gone.
    """
    folder = root / "confirmations" / study
    path = folder / "verdict.json"
    try:
        content = load_json(path)
        if content is None:
            return None
        trained = folder / f"round-{content['round']}"
        cells = content["cells"]
        finalists = tuple(_finalist(one, len(cells), trained) for one in cells)
        return Confirmed(side=content["side"], finalists=finalists)
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is damaged ({error}); put a copy back, or move it away to go without the "
            "confirmation"
        ) from None


def _finalist(given: Mapping[str, Any], together: int, trained: Path) -> Finalist:
    folder = trained / f"trial-{given['trial']}"
    record = read_record(folder)
    images = next(
        (len(unpack_correctness(file.read_bytes())) for file in folder.glob("correct-test-*")), 0
    )
    judgement = None
    if given.get("low") is not None and given.get("high") is not None:
        judgement = Judgement(
            word=given["verdict"],
            difference=given["difference"],
            low=given["low"],
            high=given["high"],
            level=LEVEL,
            n=given["n"],
            cells=together,
            split="test",
            images=images,
            confirmed=True,
        )
    return Finalist(
        trial=given["trial"],
        point=given["point"],
        folder=folder,
        record=record,
        images=images,
        judgement=judgement,
        reason=given.get("reason"),
    )
