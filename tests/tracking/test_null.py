from __future__ import annotations

from pathlib import Path

from kdsweep.config import TrackingConfig
from kdsweep.tracking import create_tracker


def test_nothing_is_recorded_or_written(tmp_path: Path) -> None:
    tracker = create_tracker(TrackingConfig(backend="none"), root=tmp_path / "mlruns")
    tracker.prepare()
    sweep = tracker.open_sweep("s", params={}, tags={})
    run = tracker.open_run("a", parent=sweep, params={}, tags={})
    tracker.log_epoch(run, {"loss": 1.0}, epoch=1)
    tracker.log_metrics(run, {"loss": 1.0})
    tracker.log_history(run, [{"loss": 1.0}])
    tracker.set_tags(run, {"a": "b"})
    tracker.log_file(run, tmp_path / "none")
    tracker.log_text(run, "text", "file.txt")
    tracker.close(run, "finished")
    tracker.flush()
    tracker.shutdown()
    assert (tracker.close_dangling("s"), tracker.runs_of("s")) == (0, [])
    assert (tracker.uri, tracker.compare_url([run]), tracker.ui_command()) == ("", "", "")
    assert list(tmp_path.iterdir()) == []
