"""``python -m kdsweep.bench``."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.bench.options import USAGE
from kdsweep.bench.run import main
from kdsweep.sweep.explain import explain
from kdsweep.terminal import command

if __name__ == "__main__":
    command.run(main, USAGE, explain)
