from __future__ import annotations

from pathlib import Path

import pytest

from kdsweep.results.cells import cells_of
from kdsweep.results.data import Sweep
from kdsweep.results.energy import ENERGY, add_energy
from kdsweep.results.judgement import judge_sweep
from kdsweep.results.summary import summarise
from tests.results.made import record


def facts(folder: Path) -> dict[str, str]:
    cells = cells_of([record(0, [70.0, 71.0])])
    sweep: Sweep = judge_sweep(summarise("s", cells), cells, folder, adaptive=False)[0]
    assert sweep.provenance is not None
    return dict(sweep.provenance.facts)


def test_sessions_are_added_up(tmp_path: Path) -> None:
    assert "energy" not in facts(tmp_path)
    add_energy(tmp_path, 3.6e5)
    assert facts(tmp_path)["energy"].startswith("0.1 kWh, ")
    add_energy(tmp_path, 7.2e5)
    assert facts(tmp_path)["energy"] == "0.3 kWh, as the machine counts for all that runs on it"


def test_sessions_of_machines_that_do_not_tell_are_named(tmp_path: Path) -> None:
    add_energy(tmp_path, None)
    assert "energy" not in facts(tmp_path)
    add_energy(tmp_path, 3.6e6)
    assert facts(tmp_path)["energy"].endswith("(1 of 2 sessions)")


@pytest.mark.parametrize("text", ["{", '{"joules": 5.0}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ENERGY).write_text(text)
    assert "energy" not in facts(tmp_path)
