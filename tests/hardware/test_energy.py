from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdsweep.hardware import energy
from kdsweep.hardware.energy import EnergyMeter


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_gpus", lambda: iter(()))


def package(powercap: Path, name: str, joules: float) -> Callable[[float], object]:
    """A counter of the machine, and how it is set."""
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text("1000000000\n")

    def put(value: float) -> object:
        return (folder / "energy_uj").write_text(f"{value * 1e6:.0f}\n")

    put(joules)
    return put


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    first, second = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 7)
    core = package(tmp_path, "intel-rapl:0:0", 50)
    with EnergyMeter(tmp_path) as meter:
        first(130), second(9), core(80)
        assert meter.read() == pytest.approx(32)
        first(131)
        assert meter.read() == pytest.approx(33)


def test_a_counter_that_starts_again_is_followed(tmp_path: Path) -> None:
    put = package(tmp_path, "intel-rapl:0", 990)
    with EnergyMeter(tmp_path) as meter:
        put(15)
        assert meter.read() == pytest.approx(25)


def test_a_machine_that_does_not_tell_has_none(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path / "nowhere") as meter:
        assert meter.read() is None
    package(tmp_path, "intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # can't be read
    with EnergyMeter(tmp_path) as meter:
        assert meter.read() is None


def test_gpus_count_in_thousandths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    spent = {0: 5000, 1: 100}
    played: Any = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetTotalEnergyConsumption=lambda i: spent[i],
    )
    monkeypatch.setitem(sys.modules, "pynvml", played)
    with EnergyMeter(tmp_path) as meter:
        spent.update({0: 8000, 1: 1100})
        assert meter.read() == pytest.approx(4)
