"""``python -m kdsweep.package``: a study's best student as files that others can run."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.config import checks
from kdsweep.errors import UserError
from kdsweep.sweeper.explain import explain
from kdsweep.terminal import arguments, command

USAGE = """
python -m kdsweep.package study=NAME [out=DIR] [cell=best] [seed=best] [register=NAME]

  study=NAME     the study's name, as the sweep printed it
  out=DIR        where the package goes             (default: mlruns/packages/NAME)
  cell=best      the cell that was confirmed best; of a study that was not confirmed the best
                 mean on validation. Or a trial's number; or baseline: without a teacher
  seed=best      the best on validation, never on test; or median; or a seed's number
  formats=safetensors,onnx,export
                 which files; onnx needs the extra of that name
  register=NAME  also put it into MLflow's model registry, under that name
  root=DIR       where kdsweep writes its output    (default: mlruns)
  tracking.uri=URL
                 MLflow's address, where it is not the study's own

It writes:
  model.safetensors, model.onnx, model.pt2
                 the network, with the normalisation inside in the last two; each carries its
                 classes, image size, cell, seed and verdict, and is compared with training
  predict.py     a script of 15 lines that needs onnxruntime, numpy and Pillow alone
  model.json     all that is known of it; README.md: its model card
"""


def main(given: list[str]) -> None:
    """Package a study's student."""
    values = arguments.parse(
        given,
        {
            "study": None, "out": None, "cell": "best", "seed": "best",
            "formats": "safetensors,onnx,export", "register": None, "root": "mlruns",
            "tracking.uri": None,
        },
    )  # fmt: skip
    study = values["study"]
    if study is None:
        raise UserError("study=: name the study; python -m kdsweep.export lists them")
    root = Path(values["root"] or "mlruns")
    checks.study_name(study)
    checks.root(str(root))
    out = Path(values["out"] or root / "packages" / study)
    from kdsweep.package.command import package_study

    package_study(
        study,
        root=root,
        out=out,
        cell=values["cell"] or "",
        seed=values["seed"] or "",
        formats=values["formats"] or "",
        register=values["register"],
        uri=values["tracking.uri"],
    )


if __name__ == "__main__":
    command.run(main, USAGE, explain)
