"""Where populations train: on this machine, on a Ray cluster, or as jobs of Slurm."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from kdsweep.config.checks import choice, non_negative, positive, require, within

NAMES = ("local", "ray", "slurm")


@dataclass(kw_only=True)
class EngineConfig:
    """What trains populations, and what each part of one gets."""

    name: str = "local"  # the processes of this machine, or a cluster's
    # Of each part that trains at the same time; unused where engine=local.
    cpus: int = 1  # ray, slurm: cores of a part; without a GPU, its threads
    gpus: float = 0.0  # ray, slurm: of a part: 0 or 1; ray: or a share of one, such as 0.5
    memory: float | None = None  # ray, slurm: GiB of a part; null: the cluster's default
    retries: int = 3  # ray, slurm: how often a part that was lost is trained again
    address: str | None = None  # ray: of a running cluster, or auto; null: one is started here
    runtime_env: Any = None  # ray: a mapping; what the nodes need, as Ray documents it
    jobs: int = 8  # slurm: tasks of the array that a population is cut into at most
    partition: str | None = None  # slurm: where jobs run; null: its default
    gres: str | None = None  # slurm: of a job, such as gpu:a100:1; null: made from gpus
    time: int = 60  # slurm: minutes after which a job is queued again, to go on
    signal_delay: int = 90  # slurm: seconds before that in which a job can prepare for it
    setup: list[str] = field(default_factory=list)  # slurm: lines of shell before the training
    sbatch: Any = None  # slurm: a mapping of sbatch's other options, such as {account: me}

    def __post_init__(self) -> None:
        choice("engine.name", self.name, NAMES)
        within("engine.cpus", self.cpus, 1, 4096)
        within("engine.gpus", self.gpus, 0, 1)
        whole = self.name != "slurm" or self.gpus in (0, 1)
        require(whole, "engine.gpus", self.gpus, "0 or 1 where engine=slurm")
        if self.memory is not None:
            positive("engine.memory", self.memory)
        non_negative("engine.retries", self.retries)
        require(self.address != "", "engine.address", "", "an address such as auto, or null")
        _mapping("engine.runtime_env", self.runtime_env)
        within("engine.jobs", self.jobs, 1, 1000)
        require(self.partition != "", "engine.partition", "", "a name, or null")
        wanted = r"\w+(:[\w.-]+)?(:\d+)?"
        require(
            self.gres is None or re.fullmatch(wanted, self.gres) is not None,
            "engine.gres",
            self.gres,
            "as Slurm has it: gpu:1, gpu:a100:1",
        )
        positive("engine.time", self.time)
        non_negative("engine.signal_delay", self.signal_delay)
        ok = all(isinstance(line, str) and "\n" not in line for line in self.setup)
        require(ok, "engine.setup", self.setup, "a list of single lines")
        _mapping("engine.sbatch", self.sbatch)

    @property
    def on_gpu(self) -> bool:
        """Whether a part gets a GPU."""
        return self.gpus > 0 or (self.name == "slurm" and (self.gres or "").startswith("gpu"))


def _mapping(key: str, value: object) -> None:
    ok = value is None or (isinstance(value, dict) and all(isinstance(k, str) for k in value))
    require(ok, key, value, "a mapping, or null")
