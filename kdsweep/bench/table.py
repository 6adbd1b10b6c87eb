"""What a benchmark measured, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from kdsweep.bench.memory import mib_per_member
from kdsweep.bench.methods import methods_table

EPOCHS, IMAGES, CELLS = 15, 50_000, 25  # system 1's protocol, and its grid


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    about = result["machine"]
    head = (
        f"{about['device']}, {about['cores']} cores, torch {about['torch']}, "
        f"Python {about['python']}\n\n"
    )
    if result["kind"] == "methods":
        return head + methods_table(result)
    if result["kind"] == "accuracy":
        return head + _accuracy_table(result)
    return head + _time_table(result)


def _accuracy_table(result: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {statistics.fmean(values):.2f} | "
        f"{statistics.stdev(values) if len(values) > 1 else float('nan'):.2f} | {len(values)} |"
        for name, values in (("plain loop", result["plain"]), ("kdsweep", result["kdsweep"]))
    ]
    return (
        f"{result['epochs']} epochs of {result['train_images']} images, "
        f"{result['evaluation_images']} validation images, seeds {result['seeds']}, "
        f"teacher {result['teacher']:.2f} %\n\n"
        "| loop | val_accuracy, % | sd | n |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _time_table(result: Mapping[str, Any]) -> str:
    seconds = {
        name: statistics.median(v) for name, v in result["seconds_per_student_step"].items()
    }
    plain = seconds["plain"]
    steps = -(-IMAGES // 128) * EPOCHS
    lines = [
        "| contender | ms a student-step | plain / this | s a trial, bank apart | "
        "s the 25-cell grid, bank included | plain grid / this |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in seconds.items():
        trial = each * steps
        bank = 0.0
        if name != "plain":
            bank = result["bank_seconds_per_image"][name.split()[1]] * IMAGES * EPOCHS
        grid = CELLS * trial + bank
        lines.append(
            f"| {name} | {1e3 * each:.2f} | {plain / each:.2f} | {trial:.0f} | {grid:.0f} | "
            f"{CELLS * plain * steps / grid:.2f} |"
        )
    peaks = ", ".join(f"{v / 1e9:.0f} GFLOP/s {k}" for k, v in result["peak_flops"].items())
    memory = ", ".join(f"{v:.2f} GiB with {k}" for k, v in result["memory_gib"].items())
    floor = 1e3 * result["student_step_flops"] / result["peak_flops"]["float32"]
    lines += [
        "",
        f"Medians of {result['rounds']} interleaved rounds of {result['steps']} steps, batch 128. "
        f"Convolution peak {peaks}; a student-step is {result['student_step_flops'] / 1e9:.2f} "
        f"GFLOP, {floor:.1f} ms at the float32 peak. Peak memory of one process {memory}: "
        f"{mib_per_member(result['memory_gib']):.1f} MiB a member.",
    ]
    return "\n".join(lines) + "\n"
