"""Time and memory of every way to distil: each in a process of its own, in turns."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kdsweep.bench import machine
from kdsweep.bench.clock import Clock
from kdsweep.bench.memory import alone
from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import typed
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.datafree import dreams
from kdsweep.engines.networks import PopulationSpec, build_student, load_teacher
from kdsweep.engines.population import train_population
from kdsweep.errors import UserError
from kdsweep.hardware.choose import choose_hardware, configure
from kdsweep.jobs.grouping import numbers
from kdsweep.store import Store, digest
from kdsweep.sweeper.plugins import register
from kdsweep.teachers import stored as teachers
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.teachers.stored import Found
from kdsweep.train.population import Member

REFERENCE = "hinton"


def compare_methods(
    names: Sequence[str], *, images: str, root: str, steps: int, rounds: int
) -> dict[str, Any]:
    """Seconds of an epoch of ``steps`` steps and peak memory, with each option of ``distill``.

    One more round comes first and is not counted: it fills the banks of logits.

    Raises:
        UserError: there is no such option.
    """
    known = sorted(path.stem for path in (conf_dir() / "distill").glob("*.yaml"))
    if list(names) == ["all"]:
        names = known
    for name in names:
        if name not in known:
            raise UserError(f"methods={name}: allowed is all, or any of {', '.join(known)}")
    wanted = list(dict.fromkeys([REFERENCE, *names]))
    seconds: dict[str, list[float]] = {name: [] for name in wanted}
    memory: dict[str, list[float]] = {name: [] for name in wanted}
    for number in range(rounds + 1):
        for name in wanted:
            each = alone(_measure, name, images, root, steps)
            if number > 0:
                seconds[name].append(each["seconds"])
                memory[name].append(each["memory_gib"])
    return {
        "kind": "methods", "steps": steps, "rounds": rounds, "seconds_per_epoch": seconds,
        "memory_gib": memory, "images": images,
    }  # fmt: skip


def _measure(name: str, images: str, root: str, steps: int) -> dict[str, float]:
    config = _config(name, images, root, steps)
    hardware = choose_hardware(config.train)
    configure(hardware)
    dataset = Datasets().load(config, hardware)
    teacher = _teacher(config, dataset)
    spec = PopulationSpec(config=config, teacher=teacher)
    if config.distill.inversion is not None:
        made = dreams.find_or_make(
            Store(Path(root)), teacher, lambda: load_teacher(spec, dataset, hardware),
            config, dataset, hardware, lambda done, total: None,
        )  # fmt: skip
        spec = dataclasses.replace(spec, images=made)
    clock = Clock()
    train_population(spec, [Member(name="one", seed=0, hyper=numbers(config))], clock)
    return {
        "seconds": clock.ends[-1] - clock.ends[-2],
        "memory_gib": machine.memory_gib(hardware.device),
    }


def _config(name: str, images: str, root: str, steps: int) -> Config:
    from hydra import compose, initialize_config_dir

    register()
    limit = steps * 128
    overrides = [
        f"distill={name}", "data=imagefolder", f"data.root='{images}'", f"root='{root}'",
        f"data.train_limit={limit}", "data.val_fraction=0.002", "train.epochs=2",
        "train.fuse=loop", "tracking=none",
    ]  # fmt: skip
    if name == "deep_inversion":  # how good the images are does not matter for time
        overrides += [f"distill.inversion.images={limit}", "distill.inversion.iterations=1"]
    with initialize_config_dir(str(conf_dir())):
        return typed(compose("config", overrides))


def _teacher(config: Config, dataset: DeviceDataset) -> Found:
    """Teachers with their initial parameters: for time, what they say does not matter."""
    store = Store(Path(config.root))
    drawn = [drawn_teacher(store, config, dataset, i) for i in range(config.teacher.ensemble)]
    if len(drawn) == 1:
        return drawn[0]
    return dataclasses.replace(drawn[0], kind="ensemble", members=tuple(drawn))


def drawn_teacher(store: Store, config: Config, dataset: DeviceDataset, seed: int = 0) -> Found:
    """A stored network of the kind that teaches, as it was initialised."""
    from safetensors.torch import save_file

    key = digest("drawn", config.teaching, seed, dataset.classes)
    found = teachers.find(store, "bench", key)
    if found is None:
        torch.manual_seed(seed)
        model = build_student(PopulationSpec(config=config, role="teacher"), dataset)
        meta = NetworkMeta(
            name=config.teaching.name, seed=seed, classes=dataset.classes, split="validation"
        )
        with store.write("bench", key, meta.to_json()) as folder:
            save_file(model.state_dict(), folder / teachers.WEIGHTS)
        found = teachers.find(store, "bench", key)
    assert found is not None
    return found


def methods_table(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    seconds = {name: statistics.median(v) for name, v in result["seconds_per_epoch"].items()}
    lines = [
        f"| distill | ms a step | against {REFERENCE} | peak memory, GiB |",
        "|---|---|---|---|",
    ]
    for name, each in seconds.items():
        lines.append(
            f"| {name} | {1e3 * each / result['steps']:.0f} | {each / seconds[REFERENCE]:.2f} | "
            f"{statistics.median(result['memory_gib'][name]):.2f} |"
        )
    return "\n".join(lines) + (
        f"\n\nMedians of {result['rounds']} interleaved rounds of {result['steps']} steps of one "
        "student, batch 128, evaluation included, the banks filled before; memory is the whole "
        "process's.\n"
    )
