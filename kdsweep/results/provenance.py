"""What was run: the command, the settings and the machine, as far as the records know them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from kdsweep.results.cells import CellRecords
from kdsweep.results.data import Provenance
from kdsweep.results.record import Record

_OWN = ("study", "trial", "round", "seed", "verdict.baseline_seeds")  # a sweep's, behind a cell's
# No settings of a cell.
_PLACES = ("study", "trial", "round", "root", "storage", "tracking", "engine")
_HERE = ("root", "storage", "tracking.uri")  # of the machine, and of no other
_ABSOLUTE = re.compile(r"(?<![\w./])(?:[A-Za-z]:\\|~?/)(?:[^\s/\\'\",:;]+[/\\])+(?=[^\s/\\])")


def portable(text: str) -> str:
    """The text with no path of one machine: of an absolute path its last name is left."""
    return _ABSOLUTE.sub("…/", text)


def provenance(cells: Sequence[CellRecords], best: CellRecords | None) -> Provenance:
    """Of these cells, the best of them chosen by the caller; None where none is complete."""
    first = best or cells[0]
    given = _given(first.rounds[0])
    return Provenance(
        command=_command(cells),
        best="" if best is None else _line("", given, without=("study", "rounds")),
        settings=tuple((k, portable(v)) for k, v in _flat(first.last.config)),
        facts=tuple(_facts(cells)),
    )


def given_of(cell: CellRecords) -> dict[str, str]:
    """What was set for a cell on the command line, its sweep's own keys apart."""
    return _given(cell.rounds[0])


def _given(record: Record) -> dict[str, str]:
    """What was set for the job on the command line, without what its sweep has added."""
    items = [item for item in record.overrides if "=" in item]
    added = any(item.startswith("trial=") for item in items)
    taken: set[str] = set()
    while added and items:
        key = items[-1].partition("=")[0]
        if key not in _OWN or key in taken:  # the second one is the user's
            break
        taken.add(key)
        items.pop()
    return {key: value for key, _, value in (item.partition("=") for item in items)}


def _command(cells: Sequence[CellRecords]) -> str:
    """A grid's command exactly; of other sweeps what is the same in every cell."""
    points = [_given(cell.rounds[0]) for cell in cells]
    levels = {
        key: list(dict.fromkeys(point.get(key, "") for point in points)) for key in points[0]
    }
    grid = math.prod(map(len, levels.values())) == len(points)
    joined = {key: ",".join(v) for key, v in levels.items() if grid or len(v) == 1}
    return _line("" if len(cells) == 1 and cells[0].last.trial is None else " -m", joined)


def _line(mode: str, given: Mapping[str, str], without: Sequence[str] = ()) -> str:
    left_out = (*without, *_HERE)
    words = [portable(f"{key}={value}") for key, value in given.items() if key not in left_out]
    return " ".join([f"python -m kdsweep{mode}", *map(shlex.quote, words)])


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its dotted key, in the order of the configuration."""
    for key, value in config.items():
        if not prefix and key in _PLACES:
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else str(value)


def _facts(cells: Sequence[CellRecords]) -> Iterator[tuple[str, str]]:
    records = [record for cell in cells for record in cell.rounds]
    known = [record.environment for record in records if record.environment is not None]
    days = sorted(one.started for one in known)
    if known:
        times = [day.replace("T", " ").replace("+00:00", " UTC") for day in (days[0], days[-1])]
        yield "started", " to ".join(dict.fromkeys(times))
        yield "device", _each(one.device for one in known)
        versions = (f"kdsweep {o.kdsweep}, torch {o.torch}, Python {o.python}" for o in known)
        yield "versions", _each(versions)
        revisions = [one.git_revision for one in known if one.git_revision != "none"]
        if revisions:
            yield "git revision", _each(revisions)
    students = sum(len(record.seeds) for record in records)
    baselines = {one.key for record in records for one in record.baselines}
    teachers = {record.teacher.key for record in records if record.teacher is not None}
    counts = {"student": students, "baseline": len(baselines), "teacher": len(teachers)}
    yield (
        "trainings",
        ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items()),
    )
    hours = sum(record.seconds for record in records) / 3600
    yield "time", f"{hours:.2g} hours of training students, all seeds added up"


def _each(values: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(values))
