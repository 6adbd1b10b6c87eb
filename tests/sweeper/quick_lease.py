"""The command with a lease of seconds: ``python -m tests.sweeper.quick_lease ARGUMENTS``.

With DIES in the environment it kills itself where the first batch would train.
"""

from __future__ import annotations

import functools
import os
import signal

from kdsweep.cli import main
from kdsweep.sweeper import loop
from kdsweep.sweeper.lease import Lease


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    loop.Lease = functools.partial(Lease, renewed=0.5, expired=4.0)
    if "DIES" in os.environ:
        loop.launch = die
    main()
