"""``python -m kdsweep.report``: a study's table and its page, made again from its records."""

from __future__ import annotations

from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.library import load
from kdsweep.sweeper.explain import explain
from kdsweep.terminal import arguments, command

USAGE = """
python -m kdsweep.report study=NAME [out=DIR]

  study=NAME     the study's name, as the sweep printed it
  out=DIR        where the files go                 (default: mlruns/reports/NAME)
  root=DIR       where kdsweep writes its output    (default: mlruns)
  storage=URL    the study's database               (default: sqlite:///ROOT/optuna.db)

It prints the table and the verdict, trains nothing, and writes:
  report.html    all of it in one file that works offline
  report-light.html
                 the same with still pictures, for a mail or a slow line
  report.md      the same in Markdown
  pictures/      each picture as SVG
  data/          the numbers of each picture as CSV
"""


def main(given: list[str]) -> None:
    """Print a study's report, and write it."""
    values = arguments.parse(
        given, {"study": None, "out": None, "root": "mlruns", "storage": None}
    )
    name, root = values["study"], values["root"] or "mlruns"
    if name is None:
        raise UserError("study=: name the study; python -m kdsweep.export lists them")
    study = load(name, root=root, storage=values["storage"])
    study.print()
    page = study.save_report(values["out"] or Path(root) / "reports" / name)
    print(f"\nReport: {page}")


if __name__ == "__main__":
    command.run(main, USAGE, explain)
