"""``python -m kdsweep.report``: the report of a study, from its records, at any time."""

from __future__ import annotations

from pathlib import Path

from kdsweep.config import checks
from kdsweep.errors import UserError
from kdsweep.sweep.explain import explain, naming
from kdsweep.terminal import arguments, command

USAGE = """
python -m kdsweep.report study=NAME [out=DIR]

Writes the report of a study anew, from its records: while it is still running, after it has been
moved, or with a newer version of kdsweep. Nothing is trained.

  study=NAME     the study's name, as the sweep printed it
  out=DIR        where the files go                 (default: beside its records)
  root=DIR       where kdsweep writes its output    (default: mlruns)
  storage=URL    the study's database, for Optuna's pictures
                                                    (default: sqlite:///ROOT/optuna.db)

It writes:
  report.html    all of it in one file that works offline (5 MB)
  report-light.html
                 the same with still pictures, for a mail or a slow line (0.2 MB)
  report.md      the same in Markdown
  pictures/      every picture as SVG, and its data as CSV
"""


def main(given: list[str]) -> None:
    """Write the report of a study."""
    values = arguments.parse(
        given, {"study": None, "out": None, "root": "mlruns", "storage": None}
    )
    study, root = values["study"], values["root"] or "mlruns"
    if study is None:
        raise UserError("study=: name the study; python -m kdsweep.export lists them")
    storage = values["storage"] or f"sqlite:///{root}/optuna.db"
    checks.study_name(study)
    checks.root(root)
    checks.storage(storage)
    from kdsweep.sweep.rebuild import rebuild

    folder = Path(root) / "hydra" / "studies" / study
    with naming(storage):
        out = Path(values["out"] or folder)
        print(f"Report: {rebuild(study, folder, root=root, storage=storage, out=out)}")


if __name__ == "__main__":
    command.run(main, USAGE, explain)
