"""What a study has used of energy, session by session, in a file of its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from kdsweep.results.data import Sweep
from kdsweep.store import find_json, with_checksum, write_json

ENERGY = "energy.json"
JOULES = 3.6e6  # in a kWh


def add_energy(folder: Path, joules: float | None) -> None:
    """Add a session's; None: the machine did not tell, and the sum says less than all."""
    known = find_json(folder / ENERGY, checked=True) or {"joules": 0.0, "sessions": 0, "silent": 0}
    made = {
        "joules": known["joules"] + (joules or 0.0),
        "sessions": known["sessions"] + (joules is not None),
        "silent": known["silent"] + (joules is None),
    }
    write_json(folder / ENERGY, with_checksum(made))


def with_energy(sweep: Sweep, folder: Path) -> Sweep:
    """The sweep with its energy among what was run, where a machine has told any."""
    known = find_json(folder / ENERGY, checked=True)
    if known is None or not known["sessions"] or sweep.provenance is None:
        return sweep
    told = f"{known['joules'] / JOULES:.2g} kWh, as the machine counts for all that runs on it"
    if known["silent"]:
        told += f" ({known['sessions']} of {known['sessions'] + known['silent']} sessions)"
    facts = (*sweep.provenance.facts, ("energy", told))
    return dataclasses.replace(
        sweep, provenance=dataclasses.replace(sweep.provenance, facts=facts)
    )
