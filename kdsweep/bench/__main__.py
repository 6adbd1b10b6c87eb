"""``python -m kdsweep.bench``: times training; ``... verdicts`` simulates races instead."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.bench.options import USAGE
from kdsweep.terminal import arguments

if __name__ == "__main__":
    if sys.argv[1:2] == ["verdicts"]:
        from kdsweep.bench.verdicts import main

        del sys.argv[1]
        arguments.run(main, main.__doc__ or "")
    else:
        from kdsweep.bench.run import main as time_training

        arguments.run(time_training, USAGE)
