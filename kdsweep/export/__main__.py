"""``python -m kdsweep.export``: an Optuna study as files that other tools read."""

from __future__ import annotations

from pathlib import Path

from kdsweep.config import checks
from kdsweep.sweeper.explain import explain, naming
from kdsweep.terminal import arguments, command

USAGE = """
python -m kdsweep.export                      list the studies
python -m kdsweep.export study=NAME [out=DIR] export one of them

  study=NAME     the study's name, as the sweep printed it
  out=DIR        where the files go                 (default: ROOT/exports/NAME)
  root=DIR       where kdsweep writes its output    (default: mlruns)
  storage=URL    the study's database               (default: sqlite:///ROOT/optuna.db)

It writes:
  trials.csv, trials.parquet, trials.json
                 every trial: number, state, parameters, values, its cell's verdict, interval and
                 number of seeds, start, end, seconds, the values of each seed, MLflow's run ids
  study.db       the study alone, in SQLite: optuna.load_study(study_name=NAME,
                 storage="sqlite:///DIR/study.db"), optuna-dashboard sqlite:///DIR/study.db
  best.yaml      the best cell as a configuration:
                 python -m kdsweep --config-dir DIR --config-name best
"""


def main(given: list[str]) -> None:
    """Export a study, or list the studies where none is named."""
    values = arguments.parse(
        given, {"study": None, "out": None, "root": "mlruns", "storage": None}
    )
    root = Path(values["root"] or "mlruns")
    storage = values["storage"] or f"sqlite:///{root / 'optuna.db'}"
    checks.root(str(root))
    checks.storage(storage)
    from kdsweep.export.study import export_study
    from kdsweep.sweeper.opening import list_studies

    study = values["study"]
    if study is not None and values["out"] is None:
        checks.study_name(study)  # the folder is named after it
    with naming(storage):
        if study is None:
            for line in list_studies(storage):
                print(line)
            return
        out = Path(values["out"] or root / "exports" / study)
        for path, what in export_study(study, storage, root=root, out=out):
            print(f"{path}: {what}")


if __name__ == "__main__":
    command.run(main, USAGE, explain)
