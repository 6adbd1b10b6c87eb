"""``python -m kdsweep.bench``: times training; ``verdicts`` simulates races, ``null`` trains."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the main command has it

from kdsweep.bench import null, run, verdicts
from kdsweep.bench.options import USAGE
from kdsweep.sweeper.explain import explain
from kdsweep.terminal import command

if __name__ == "__main__":
    others = {"verdicts": verdicts, "null": null}
    other = others.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if other is not None:
        del sys.argv[1]
        command.run(other.main, other.__doc__ or "", explain)
    else:
        command.run(run.main, USAGE, explain)
