"""A sweep in Markdown, for the pages of other tools: the answer, the best cell, the map."""

from __future__ import annotations

from collections.abc import Sequence

from kdsweep.results.data import Cell, CellVerdict, Model, Sweep, best_cell, difference, summarise

ROWS = 30  # of a list of cells


def summary_markdown(sweep: Sweep, *, progress: str, links: Sequence[str], limit: int) -> str:
    """The whole sweep, shortened to ``limit`` characters by leaving out what matters least.

    Args:
        sweep: with its verdicts.
        progress: how much of it is done.
        links: Markdown, of where to read on.
        limit: characters.
    """
    head = [f"**{_escaped(sweep.verdict_lines[0])}**"] if sweep.verdict_lines else []
    head.append(" · ".join(links))  # MLflow folds what comes later
    best = best_cell(sweep)
    if best is not None and len(sweep.cells) > 1:
        luck = " The best of many is partly luck: confirm it on fresh seeds."
        head.append(f"Best: {cell_markdown(sweep, best)}{luck * (sweep.split != 'test')}")
    tail = [
        *(_model("Baseline", sweep, sweep.baseline)),
        *(_model("Teacher", sweep, sweep.teacher)),
        *map(_escaped, sweep.verdict_lines[-2:] if len(sweep.verdict_lines) > 2 else ()),
        progress,
    ]
    for table in (_table(sweep, intervals=True), _table(sweep, intervals=False), ""):
        text = "\n\n".join(part for part in (*head, table, *tail) if part)
        if len(text) <= limit:
            break
    return text


def cell_markdown(sweep: Sweep, cell: Cell) -> str:
    """One cell in a sentence: its mean, and its verdict with interval and number of seeds."""
    summary = summarise(cell.accuracy_by_seed)
    mean = f"{sweep.objective} {summary.mean:.{sweep.decimals}f} {sweep.unit}"
    if cell.verdict is None:
        gain = difference(sweep, cell)
        shown = "" if gain is None else f", {gain:+.{sweep.decimals}f} from the baseline"
        return f"{_escaped(cell.label)}: {mean}{shown}, n = {summary.count}, no verdict."
    return (
        f"{_escaped(cell.label)}: **{cell.verdict.word}**, {interval_text(sweep, cell.verdict)} "
        f"{sweep.difference_unit} from the baseline ({mean}, n = {summary.count})."
    )


def interval_text(sweep: Sweep, verdict: CellVerdict) -> str:
    """A difference with its interval."""
    digits = sweep.decimals
    low, high = f"{verdict.low:+.{digits}f}", f"{verdict.high:+.{digits}f}"
    return f"{verdict.difference:+.{digits}f} [{low}, {high}]"


def _model(role: str, sweep: Sweep, model: Model | None) -> list[str]:
    if model is None:
        return []
    summary = summarise(model.accuracy_by_seed)
    digits = sweep.decimals
    spread = f" ± {summary.sd:.{digits}f}" if summary.n > 1 else ""
    return [
        f"{role} {_escaped(model.label)}: {summary.mean:.{digits}f}{spread} {sweep.unit}, "
        f"n = {summary.count}."
    ]


def _table(sweep: Sweep, *, intervals: bool) -> str:
    names = [name for cell in sweep.cells[:1] for name in cell.values]
    if len(names) == 2:
        rows, columns = ([cell.values[name] for cell in sweep.cells] for name in reversed(names))
        at = dict(zip(zip(rows, columns, strict=True), sweep.cells, strict=True))
        down, across = list(dict.fromkeys(rows)), list(dict.fromkeys(columns))
        if len(at) == len(sweep.cells) == len(down) * len(across):
            head = [f"{names[1]} \\ {names[0]}", *map(str, across)]
            body = [
                [str(row), *(_entry(sweep, at[row, column], intervals) for column in across)]
                for row in down
            ]
            return _grid(head, body) + "\n\n" + _legend(sweep)
    ranked = sorted(sweep.cells, key=lambda cell: -(difference(sweep, cell) or 0.0))
    body = [
        [
            cell.label,
            _entry(sweep, cell, intervals),
            "none" if cell.verdict is None else cell.verdict.word,
            summarise(cell.accuracy_by_seed).count,
        ]
        for cell in ranked[:ROWS]
    ]
    more = len(ranked) - len(body)
    rest = f"\n\n{more} more cells are in the table." if more else ""
    return _grid(["cell", "delta", "verdict", "n"], body) + rest + "\n\n" + _legend(sweep)


def _legend(sweep: Sweep) -> str:
    return (
        f"Each cell: its difference from the baseline in {sweep.difference_unit} of "
        f"{sweep.objective}, with its interval; bold: better or worse, = equivalent, ? open."
    )


def _entry(sweep: Sweep, cell: Cell, interval: bool) -> str:
    verdict, digits = cell.verdict, sweep.decimals
    if verdict is None:
        gain = difference(sweep, cell)
        return cell.state if gain is None else f"{gain:+.{digits}f}"
    number = f"{verdict.difference:+.{digits}f}"
    marked = {"equivalent": f"= {number}", "open": f"? {number}"}.get(
        verdict.word, f"**{number}**"
    )
    shown = interval_text(sweep, verdict).partition(" ")[2]
    return f"{marked} {shown}" if interval else marked


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    """Text in which Markdown finds no markup of its own; underscores inside words are none."""
    for sign in "\\`*<>":
        text = text.replace(sign, f"\\{sign}")
    return text
