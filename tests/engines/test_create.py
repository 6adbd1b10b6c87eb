"""Which engine is made, what its slots have, and what this machine does for a cluster's."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kdsweep.config import Config, EngineConfig, TrainConfig
from kdsweep.engines import PopulationSpec
from kdsweep.engines.checkpoints import setting_key
from kdsweep.engines.slots import for_slot, slot_machine
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Machine, choose_hardware, on_this_machine
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from kdsweep.jobs.shared import baseline_key
from tests.jobs.trained import job

BARE = Machine(cores=4, gpus=0)  # a login node


def config(train: dict[str, Any] | None = None, **engine: Any) -> Config:
    return Config(train=TrainConfig(**train or {}), engine=EngineConfig(**engine))


def test_this_machines_engine_imports_no_other(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from kdsweep.config import Config\n"
        "from kdsweep.jobs.session import Session\n"
        f"with Session(Config(root={str(tmp_path)!r})) as session:\n"
        "    assert type(session.engine).__name__ == 'LocalEngine'\n"
        "print(sorted({'ray', 'submitit', 'hydra_plugins'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_extra_that_is_missing_is_one_line_before_anything_else(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    with pytest.raises(UserError) as caught:
        Session(Config(root=str(tmp_path / "root"), engine=EngineConfig(name=name)))
    assert str(caught.value) == (
        f"engine={name}: needs {module}, which is not installed; pip install 'kdsweep[{name}]', "
        "or leave it out to train on this machine"
    )
    assert caught.value.exit_status == 2
    assert not (tmp_path / "root").exists()


def test_a_slot_has_what_the_engine_asks_for() -> None:
    assert slot_machine(EngineConfig()) is None
    assert slot_machine(EngineConfig(name="ray", cpus=3)) == Machine(cores=3, gpus=0)
    assert slot_machine(EngineConfig(name="ray", gpus=0.5)) == Machine(cores=1, gpus=1)
    with_gres = EngineConfig(name="slurm", gres="gpu:a100:1", cpus=4)
    assert slot_machine(with_gres) == Machine(cores=4, gpus=1)
    assert slot_machine(EngineConfig(name="slurm", gres="tmpdisk:10")) == Machine(cores=1, gpus=0)


def test_in_a_slot_nothing_is_left_to_what_the_node_has() -> None:
    def trained(**engine: Any) -> TrainConfig:
        return for_slot(PopulationSpec(config=config(**engine))).config.train

    on_cpu = trained(name="ray", cpus=2)
    assert (on_cpu.device, on_cpu.precision, on_cpu.fuse, on_cpu.threads) == (
        "cpu", "float32", "loop", 2
    )  # fmt: skip
    on_gpu = trained(name="slurm", gpus=1, cpus=8)
    assert (on_gpu.device, on_gpu.precision, on_gpu.fuse) == ("cuda", "bf16", "auto")
    asked = for_slot(PopulationSpec(config=config({"threads": 1}, name="ray", cpus=2)))
    assert asked.config.train.threads == 1
    with pytest.raises(UserError, match="no usable GPU"):
        for_slot(PopulationSpec(config=config({"device": "cuda"}, name="ray")))


def test_a_machine_without_a_gpu_measures_what_gpus_train() -> None:
    hardware = choose_hardware(TrainConfig(), Machine(cores=8, gpus=1))
    host = on_this_machine(hardware, BARE)
    assert (host.device.type, host.precision, host.threads) == ("cpu", "bf16", 4)
    assert (host.grouped, host.workers) == (False, 1)
    assert on_this_machine(hardware, Machine(cores=8, gpus=1)) is hardware
    tf32 = choose_hardware(TrainConfig(precision="tf32"), Machine(cores=8, gpus=1))
    assert on_this_machine(tf32, BARE).precision == "float32"


@pytest.mark.usefixtures("composing")
def test_a_plan_is_made_for_the_slots_and_loaded_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsweep.hardware.choose.this_machine", lambda: BARE)
    free = ("train.precision=auto", "train.fuse=auto", "train.threads=null")
    cluster = ("engine=slurm", "engine.gpus=1", "engine.cpus=8")
    (made,) = plan([job(tmp_path, *free, *cluster)])
    assert (made.hardware.device.type, made.hardware.precision) == ("cuda", "bf16")
    assert made.host.device.type == "cpu"
    assert made.dataset.labels.device.type == "cpu"
    assert made.dataset.evaluation.images.device.type == "cpu"
    assert made.device == "slurm (a GPU and 8 cores for each part)"
    with_gpu = choose_hardware(made.config.train, Machine(cores=8, gpus=1))
    (here,) = plan([job(tmp_path, *free)])
    assert here.hardware is here.host
    one = made.jobs[0]
    assert baseline_key(made, one, 1) != baseline_key(here, one, 1)
    assert made.hardware == with_gpu  # so its keys are those of a machine with a GPU


@pytest.mark.usefixtures("composing")
def test_where_it_trains_is_not_what_it_trains(tmp_path: Path) -> None:
    made = plan([job(tmp_path), job(tmp_path, "engine=ray", "engine.cpus=1")])
    assert len(made) == 1
    (elsewhere,) = plan([job(tmp_path, "engine=ray")])
    keys = {
        setting_key(PopulationSpec(config=one.config), one.dataset, one.hardware)
        for one in (*made, elsewhere)
    }
    assert len(keys) == 1
    assert baseline_key(elsewhere, elsewhere.jobs[0], 1) == baseline_key(
        made[0], made[0].jobs[0], 1
    )


@pytest.mark.usefixtures("composing")
def test_networks_are_timed_where_they_are_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsweep.hardware.choose.this_machine", lambda: BARE)
    timed = job(tmp_path, "engine=slurm", "engine.gpus=1", "evaluate.latency=true")
    with pytest.raises(UserError, match=r"^evaluate.latency=true: allowed on a machine with a"):
        plan([timed])
    plan([job(tmp_path, "engine=ray", "evaluate.latency=true")])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"name": "spark"}, "engine.name=spark: allowed is one of local, ray, slurm"),
        ({"cpus": 0}, "engine.cpus=0: allowed is 1 to 4,096"),
        ({"gpus": 2}, "engine.gpus=2: allowed is 0 to 1"),
        ({"name": "slurm", "gpus": 0.5}, "engine.gpus=0.5: allowed is 0 or 1 where engine=slurm"),
        ({"memory": 0}, "engine.memory=0: allowed is a number above 0"),
        ({"retries": -1}, "engine.retries=-1: allowed is 0 or more"),
        ({"address": ""}, "engine.address=: allowed is an address such as auto, or null"),
        ({"runtime_env": "x"}, "engine.runtime_env=x: allowed is a mapping, or null"),
        ({"jobs": 0}, "engine.jobs=0: allowed is 1 to 1,000"),
        ({"partition": ""}, "engine.partition=: allowed is a name, or null"),
        ({"gres": "gpu 1"}, "engine.gres=gpu 1: allowed is as Slurm has it: gpu:1, gpu:a100:1"),
        ({"time": 0}, "engine.time=0: allowed is a number above 0"),
        ({"signal_delay": -1}, "engine.signal_delay=-1: allowed is 0 or more"),
        ({"setup": ["a\nb"]}, "engine.setup=['a\\nb']: allowed is a list of single lines"),
        ({"sbatch": [1]}, "engine.sbatch=[1]: allowed is a mapping, or null"),
    ],
)
def test_what_no_engine_takes_is_said(given: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        EngineConfig(**given)
    assert str(caught.value) == line


def test_what_engines_take() -> None:
    made = EngineConfig(
        name="slurm", gres="gpu:a100:1", memory=4.5, setup=["module load x"], sbatch={"qos": "l"}
    )
    assert made.on_gpu
    assert EngineConfig(name="ray", runtime_env={"pip": ["x"]}, address="auto").gpus == 0
    assert torch.device(choose_hardware(TrainConfig(), slot_machine(made)).device).type == "cuda"
