"""``python -m kdsweep.bench``: times training; ``... verdicts`` simulates races instead."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.bench import run, verdicts
from kdsweep.bench.options import USAGE
from kdsweep.sweep.explain import explain
from kdsweep.terminal import command

if __name__ == "__main__":
    if sys.argv[1:2] == ["verdicts"]:
        del sys.argv[1]
        command.run(verdicts.main, verdicts.__doc__ or "", explain)
    else:
        command.run(run.main, USAGE, explain)
