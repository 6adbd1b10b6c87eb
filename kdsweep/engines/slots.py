"""What a part of a population trains with, on this machine and on a cluster's."""

from __future__ import annotations

from typing import Any

from kdsweep.config import EngineConfig
from kdsweep.engines.networks import PopulationSpec, with_train
from kdsweep.hardware.choose import Machine, choose_hardware


def slot_machine(config: EngineConfig) -> Machine | None:
    """What each part of a population has; None: this machine, whatever that is."""
    if config.name == "local":
        return None
    return Machine(cores=config.cpus, gpus=int(config.on_gpu))


def for_slot(spec: PopulationSpec) -> PopulationSpec:
    """The population as it trains in a cluster's slot.

    Nothing is left to what the node has, so that one without its GPU fails instead of training
    what the keys of the results don't say.
    """
    config = spec.config
    hardware = choose_hardware(config.train, slot_machine(config.engine))
    changes: dict[str, Any] = {
        "device": hardware.device.type,
        "precision": hardware.precision,
    }
    if hardware.device.type == "cpu":
        changes |= {"fuse": "loop", "threads": hardware.threads}
    return with_train(spec, **changes)
