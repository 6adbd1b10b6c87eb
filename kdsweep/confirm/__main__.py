"""``python -m kdsweep.confirm``: the best cells of a study on fresh seeds, read once on test."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.confirm.selection import Side
from kdsweep.errors import UserError
from kdsweep.terminal import arguments

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

It writes ROOT/confirmations/NAME/: selection.json (frozen before training), verdict.json.
"""


_SIDES: dict[str, Side] = {"best": "best", "worst": "worst", "both": "both"}


def main(given: list[str]) -> None:
    """Confirm a study."""
    values = arguments.parse(
        given,
        {
            "study": None, "top": "3", "side": "best", "seeds": "20", "again": "false",
            "root": "mlruns", "storage": None,
        },
    )  # fmt: skip
    if values["study"] is None:
        raise UserError("study=: name the study; python -m kdsweep.export lists them")
    if values["again"] not in ("true", "false"):
        raise UserError(f"again={values['again']}: allowed is true or false")
    from kdsweep.confirm.confirmation import confirm_study

    root = Path(values["root"] or "mlruns")
    confirm_study(
        values["study"],
        values["storage"] or f"sqlite:///{root / 'optuna.db'}",
        root=root,
        top=_count("top", values["top"], least=1),
        side=_side(values["side"]),
        seeds=_count("seeds", values["seeds"], least=3),
        again=values["again"] == "true",
    )


def _side(given: str | None) -> Side:
    side = _SIDES.get(given or "")
    if side is None:
        raise UserError(f"side={given}: allowed is {', '.join(_SIDES)}")
    return side


def _count(key: str, given: str | None, *, least: int) -> int:
    if given is None or not given.isdigit() or int(given) < least:
        raise UserError(f"{key}={given}: allowed is a whole number, {least} or more")
    return int(given)


if __name__ == "__main__":
    arguments.run(main, USAGE)
