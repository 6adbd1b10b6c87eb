"""What a report says of a sweep beside its numbers: costs, protocol, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence

from kdsweep.results.data import Cell, Model, Sweep, best_cell, summarise


def costs(sweep: Sweep) -> list[tuple[str, list[str]]]:
    """What each network costs, in words, for the teacher, the baseline and cells of their own."""
    timed = f" a batch ({sweep.latency_conditions})" if sweep.latency_conditions else " a batch"
    lines = []
    networks: list[tuple[str, Model | Cell]] = []
    for role, model in (("teacher", sweep.teacher), ("baseline", sweep.baseline)):
        if model is not None:
            networks.append((f"{role} {model.label}", model))
    networks += [(cell.label, cell) for cell in sweep.cells]
    for label, row in networks:
        efficiency = row.efficiency if isinstance(row, Model) else None
        flops = row.flops if isinstance(row, Model) else None
        facts = [
            "" if row.parameters is None else f"{row.parameters:,} parameters",
            "" if row.size_mib is None else f"{row.size_mib:.2f} MiB",
            "" if flops is None else f"{flops / 1e6:.1f} MFLOP an image",
            "" if row.latency_ms is None else f"{row.latency_ms:.2f} ms{timed}",
            "" if efficiency is None else f"efficiency {efficiency:.3g}",
        ]
        if isinstance(row, Model) and row is sweep.baseline and sweep.teacher is not None:
            ratio = sweep.teacher.parameters / row.parameters
            facts.append(
                f"{ratio:.1f} times fewer parameters than the teacher"
                if ratio > 1
                else f"{1 / ratio:.1f} times the teacher's parameters"
            )
        lines.append((label, [fact for fact in facts if fact]))
    return [(label, facts) for label, facts in lines if facts]


def notes(sweep: Sweep) -> list[str]:
    """What a reader must know to read the numbers rightly, a sentence each."""
    lines = []
    if best_cell(sweep) is not None and len(sweep.cells) > 1:
        lines.append(
            f"* the best mean of {len(sweep.cells)} cells. The best of many is partly luck: "
            "confirm it on fresh seeds."
        )
    if sweep.split == "test":
        lines.append("Read on test: a number to report, never one to choose a cell by.")
    if sweep.teacher is not None and len(sweep.teacher.accuracy_by_seed) == 1:
        lines.append("One teacher was used: every difference is conditional on it.")
    if len(sweep.teachers) > 1:
        each = ", ".join(
            f"{model.label} {summarise(model.accuracy_by_seed).mean:.{sweep.decimals}f}"
            for model in sweep.teachers
        )
        lines.append(
            f"{len(sweep.teachers)} teachers taught different cells ({each} {sweep.unit}): a "
            "difference between cells may be theirs."
        )
    if _estimated_otherwise(sweep):
        lines.append(
            "A difference is from the baseline's seeds at the end of the cell's last round, so it "
            "need not equal the difference of the means."
        )
    return lines


def _estimated_otherwise(sweep: Sweep) -> bool:
    if sweep.baseline is None:
        return False
    base = summarise(sweep.baseline.accuracy_by_seed).mean
    visible = 0.5 * 10.0**-sweep.decimals
    return any(
        abs(summarise(c.accuracy_by_seed).mean - base - c.verdict.difference) > visible
        for c in sweep.cells
        if c.verdict is not None
    )


def protocol(sweep: Sweep) -> list[tuple[str, str]]:
    """What was measured, on what and how often, as (name, value) pairs."""
    seeds = sorted({seed for cell in sweep.cells for seed in cell.accuracy_by_seed})
    states: dict[str, int] = {}
    for cell in sweep.cells:
        states[cell.state] = states.get(cell.state, 0) + 1
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = [
        ("dataset", sweep.dataset),
        ("objective", f"{sweep.objective} in {sweep.unit}, on the {sweep.split} split"),
        ("cells", f"{len(sweep.cells)} ({counts})" if counts else "0"),
        ("seeds", _ranges(seeds) if seeds else "none"),
    ]
    for name, model in (("baseline", sweep.baseline), ("teacher", sweep.teacher)):
        if model is not None:
            summary = summarise(model.accuracy_by_seed)
            lines.append(
                (f"{name} seeds", f"{summary.count} ({_ranges(sorted(model.accuracy_by_seed))})")
            )
    return lines


def _ranges(numbers: Sequence[int]) -> str:
    """``0-4, 7``: runs of whole numbers in rising order, shortened."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
