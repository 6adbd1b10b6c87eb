from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path
from kdsweep.config import TrackingConfig
from kdsweep.tracking import create_tracker

local = create_tracker(TrackingConfig(), root=Path({root!r}))
local.ui_command()
none = create_tracker(TrackingConfig(backend="none"), root=Path({root!r}))
none.prepare()
none.close(none.open_run("a", parent=None, params={{}}, tags={{}}), "finished")
print([name for name in sys.modules if name.partition(".")[0] in ("mlflow", "sqlalchemy")])
"""


def test_without_mlflow_it_is_never_imported(tmp_path: object) -> None:
    script = SCRIPT.format(root=f"{tmp_path}/mlruns")
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"
