"""``python -m kdsweep.confirm``: the best cells of a study on fresh seeds, read once on test."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.config import checks
from kdsweep.confirm.selection import count, side_of
from kdsweep.errors import UserError
from kdsweep.sweeper.explain import explain, naming
from kdsweep.terminal import arguments, command

USAGE = """
python -m kdsweep.confirm study=NAME [top=3] [side=best] [seeds=20] [again=true]

Takes the top cells of a finished study by their validation score, writes that choice down,
trains each of them and the baseline with fresh seeds, opens the test images once, and says
whether distillation helped. A study is confirmed once: what has been seen can't be unseen.

  study=NAME     the study's name, as the sweep printed it
  top=3          how many cells
  side=best      the best cells, the worst (is it harm?), or both: so many of each
  seeds=20       fresh seeds for each of them; the baseline gets more, of its own
  again=true     confirm anew, on seeds that are fresh again; the verdict says so
  root=DIR       where kdsweep writes its output    (default: mlruns)
  storage=URL    the study's database               (default: sqlite:///ROOT/optuna.db)
  tracking.uri=URL
                 MLflow's address with its password, if it has one: records don't keep it

It writes ROOT/confirmations/NAME/: selection.json (frozen before training), verdict.json,
report.html. Ctrl-C or a kill loses little: the same command goes on.
"""


def main(given: list[str]) -> None:
    """Confirm a study."""
    values = arguments.parse(
        given,
        {
            "study": None, "top": "3", "side": "best", "seeds": "20", "again": "false",
            "root": "mlruns", "storage": None, "tracking.uri": None,
        },
    )  # fmt: skip
    if values["study"] is None:
        raise UserError("study=: name the study; python -m kdsweep.export lists them")
    if values["again"] not in ("true", "false"):
        raise UserError(f"again={values['again']}: allowed is true or false")
    root = Path(values["root"] or "mlruns")
    storage = values["storage"] or f"sqlite:///{root / 'optuna.db'}"
    checks.study_name(values["study"])
    checks.root(str(root))
    checks.storage(storage)
    top = count("top", values["top"], least=1)
    seeds = count("seeds", values["seeds"], least=3)
    side = side_of(values["side"])
    from kdsweep.confirm.confirmation import confirm_study

    with naming(storage):
        confirm_study(
            values["study"],
            storage,
            root=root,
            top=top,
            side=side,
            seeds=seeds,
            again=values["again"] == "true",
            tracking_uri=values["tracking.uri"],
        )


if __name__ == "__main__":
    command.run(main, USAGE, explain)
