"""Time the plain loop, kdsweep solo and kdsweep fused, in turns, and write down what came out."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kdsweep import arguments, store
from kdsweep.bench import machine
from kdsweep.bench.plain import PlainLoop
from kdsweep.bench.table import table
from kdsweep.config import (
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    TrainConfig,
)
from kdsweep.errors import UserError
from kdsweep.jobs import numbers
from kdsweep.train import keys, teachers
from kdsweep.train.group import Group, build_student, load_teacher, train_group
from kdsweep.train.hardware import Hardware, choose_hardware
from kdsweep.train.interfaces import Trained
from kdsweep.train.materials import Materials, prepare_materials
from kdsweep.train.population import Member
from kdsweep.train.teachers import Found
from kdsweep.train.workers import workers

USAGE = """
python -m kdsweep.bench images=FOLDER [members=1,5,25,125] [steps=40] [rounds=3]
                        [precisions=float32,bf16] [fuse=auto] [out=DIR] [root=mlruns]

Times one training step of a student, in turns, rounds times over:
  plain   a DataLoader with Pillow transforms and the teacher's forward pass in each step
  solo    kdsweep with one member; fused: with so many members
with system 1's networks, batch 128, and the bank of teacher logits already filled (its cost is
measured apart). FOLDER holds train/<class>/* and test/<class>/*.
It prints a table, and writes bench.json and bench.md to out= (default: ROOT/bench).

  accuracy=E     instead: train E epochs with the plain loop and with kdsweep, seeds=0,1,2 each,
                 on all training images or on limit= of them, and compare their accuracies
"""


def main(given: list[str]) -> None:
    """Run the benchmark that the arguments describe."""
    defaults = {
        "images": None, "members": "1,5,25", "steps": "40", "rounds": "3", "accuracy": None,
        "precisions": None, "seeds": "0,1,2", "fuse": "auto", "out": None, "root": "mlruns",
        "limit": None,
    }  # fmt: skip
    values = arguments.parse(given, defaults)
    if values["images"] is None:
        raise UserError("images=: name a folder that holds train/<class>/* and test/<class>/*")
    config = bench_config(values)
    out = Path(values["out"] or f"{config.root}/bench")
    if values["accuracy"] is not None:
        result = compare_accuracy(config, int(values["accuracy"]), _numbers(values["seeds"]))
    else:
        result = compare_time(config, values)
    result["machine"] = machine.describe(choose_hardware(config.train).device)
    text = table(result)
    with store.writable(out):
        out.mkdir(parents=True, exist_ok=True)
        name = "bench" if values["accuracy"] is None else "accuracy"
        (out / f"{name}.json").write_text(json.dumps(result, indent=1))
        (out / f"{name}.md").write_text(text)
    print(text)


def _numbers(text: str | None) -> list[int]:
    return [int(part) for part in (text or "").split(",") if part]


def bench_config(values: Mapping[str, str | None]) -> Config:
    """System 1's training on the images; a teacher with drawn parameters costs the same."""
    limit = None if values["limit"] is None else int(values["limit"])
    images = limit if values["accuracy"] else int(values["steps"] or 0) * 128
    return Config(
        data=DataConfig(
            name="imagefolder",
            root=values["images"],
            val_fraction=0.1 if values["accuracy"] else 0.002,  # judging must not weigh in time
            train_limit=images,
        ),
        distill=DistillConfig(losses={"hinton": {"weight": 1.0}}),
        train=TrainConfig(fuse=values["fuse"] or "auto"),
        evaluate=EvaluateConfig(),
        root=values["root"] or "mlruns",
    )


class _Clock:
    """An observer that notes when each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step(self, done: int, total: int) -> None:
        """Steps are not timed one by one: that would make the host wait for the device."""

    def epoch(self, epoch: int, records: Mapping[str, Mapping[str, float]]) -> Mapping[str, str]:
        """Note the time."""
        self.ends.append(time.perf_counter())
        return {}


def fused_seconds(group: Group, members: int, hardware: Hardware, steps: int) -> float:
    """Seconds of one step of all members, evaluation included, over the epochs after the first."""
    grid = [(t, a) for a in (0.1, 0.3, 0.5, 0.7, 0.9) for t in (1.0, 2.0, 3.0, 4.0, 5.0)]
    hyper = numbers(group.config)
    cells = [
        Member(
            name=f"cell {i}",
            seed=i // len(grid),
            hyper={**hyper, "temperature": grid[i % 25][0], "alpha": grid[i % 25][1]},
        )
        for i in range(members)
    ]
    clock = _Clock()
    processes = min(hardware.workers, members)
    if processes > 1:
        workers(hardware.workers).train(group, cells, clock)
    else:
        train_group(group, cells, clock)
    epochs = group.config.train.epochs
    first = clock.ends[processes - 1]
    return (clock.ends[-1] - first) / ((epochs - 1) * steps)


def compare_time(config: Config, values: Mapping[str, str | None]) -> dict[str, Any]:
    """Seconds a step of each contender, round by round."""
    given = (values["precisions"] or "auto").split(",")
    steps, rounds = int(values["steps"] or 40), int(values["rounds"] or 3)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=3))
    hardware = choose_hardware(config.train)
    materials = prepare_materials(config, hardware)
    teacher = _drawn_teacher(config, materials, hardware)
    plain = PlainLoop(
        config=config,
        dataset=materials.dataset,
        teacher=load_teacher(Group(config=config, teacher=teacher), materials, hardware),
        device=hardware.device,
    )
    contenders: dict[str, tuple[Group, int, Hardware]] = {}
    for precision in given:
        own = dataclasses.replace(
            config, train=dataclasses.replace(config.train, precision=precision)
        )
        for members in _numbers(values["members"]):
            contenders[f"kdsweep {precision} N={members}"] = (
                Group(config=own, teacher=teacher),
                members,
                choose_hardware(own.train),
            )
    bank = {p: _bank_seconds(config, teacher, p, steps) for p in given}
    seconds: dict[str, list[float]] = {"plain": []}
    plain.epoch(steps)
    for _ in range(rounds):
        seconds["plain"].append(plain.epoch(steps))
        for name, (group, members, own_hardware) in contenders.items():
            each = fused_seconds(group, members, own_hardware, steps) / members
            seconds.setdefault(name, []).append(each)
    peaks = {
        name: machine.convolution_peak(hardware.device, bf16=name == "bf16")
        for name in ("float32", "bf16")
    }
    return {
        "kind": "time",
        "steps": steps,
        "rounds": rounds,
        "seconds_per_student_step": seconds,
        "bank_seconds_per_image": bank,
        "peak_flops": peaks,
        "student_step_flops": _step_flops(config, materials),
        "memory_gib": machine.memory_gib(hardware.device),
    }


def _drawn_teacher(config: Config, materials: Materials, hardware: Hardware) -> Found:
    """A teacher with its initial parameters: for time, what it says does not matter."""
    from safetensors.torch import save_file

    shelf = store.Store(Path(config.root))
    torch.manual_seed(0)
    model = build_student(Group(config=config, student="teacher"), materials)
    meta = {"name": config.pair.teacher.name, "seed": 0, "metrics": {}, "costs": {}}
    with shelf.write("bench", "teacher", meta) as folder:
        save_file(model.state_dict(), folder / teachers.WEIGHTS)
    found = teachers.find(shelf, "bench", "teacher")
    assert found is not None
    return found


def _bank_seconds(config: Config, teacher: Found, precision: str, steps: int) -> float:
    """Seconds to fill one (image, view) pair of a fresh bank, all cores at work."""
    import shutil

    one = dataclasses.replace(config.train, precision=precision, epochs=1)
    group = Group(config=dataclasses.replace(config, train=one), teacher=teacher)
    hardware = choose_hardware(one)
    _epoch_seconds(group, hardware)  # starts the workers
    shutil.rmtree(Path(config.root) / "store" / "bank", ignore_errors=True)
    cold = _epoch_seconds(group, hardware)
    warm = _epoch_seconds(group, hardware)
    return max(cold - warm, 0.0) / (steps * config.train.batch_size)


def _epoch_seconds(group: Group, hardware: Hardware) -> float:
    members = [
        Member(name=f"m{i}", seed=0, hyper=numbers(group.config))
        for i in range(max(hardware.workers, 1))
    ]
    started = time.perf_counter()
    if hardware.workers > 1:
        workers(hardware.workers).train(group, members, _Clock())
    else:
        train_group(group, members, _Clock())
    return time.perf_counter() - started


def _step_flops(config: Config, materials: Materials) -> float:
    from kdsweep.evaluate.cost import flops_per_image

    model = build_student(Group(config=config), materials)
    images = materials.judged.normalise(materials.judged.images[:1].cpu()).float()
    return 3.0 * flops_per_image(model, images) * config.train.batch_size


def compare_accuracy(config: Config, epochs: int, seeds: list[int]) -> dict[str, Any]:
    """Validation accuracy of both loops with the same seeds, teacher and protocol."""
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs))
    hardware = choose_hardware(config.train)
    materials = prepare_materials(config, hardware)
    shelf = store.Store(Path(config.root))
    teacher = _trained_teacher(config, materials, hardware, shelf)
    group = Group(config=config, teacher=teacher)
    members = [Member(name=str(s), seed=s, hyper=numbers(config)) for s in seeds]
    if hardware.workers > 1 and len(members) > 1:
        trained: dict[str, Trained] = workers(hardware.workers).train(group, members, _Clock())
    else:
        trained = train_group(group, members, _Clock())
    ours = [trained[str(s)].history[-1]["val_accuracy"] for s in seeds]
    network = load_teacher(group, materials, hardware)
    images = materials.judged.normalise(materials.judged.images.cpu()).float()
    theirs = []
    for seed in seeds:
        loop = PlainLoop(
            config=config, dataset=materials.dataset, teacher=network,
            device=hardware.device, seed=seed,
        )  # fmt: skip
        for _ in range(epochs):
            loop.epoch()
        theirs.append(loop.accuracy(images, materials.judged.labels.cpu()))
    return {
        "kind": "accuracy", "epochs": epochs, "seeds": seeds, "plain": theirs, "kdsweep": ours,
        "teacher": teacher.metrics["val_accuracy"], "images": config.data.root,
        "train_images": len(materials.labels), "judged_images": len(materials.judged.labels),
    }  # fmt: skip


def _trained_teacher(
    config: Config, materials: Materials, hardware: Hardware, shelf: store.Store
) -> Found:
    key = keys.teacher_key(config, materials, hardware)
    found = teachers.find(shelf, "teacher", key)
    if found is not None:
        return found
    alone = dataclasses.replace(config, distill=DistillConfig(temperature=1.0, alpha=0.0))
    group = Group(config=alone, student="teacher")
    member = Member(name=key, seed=config.teacher.seed, hyper=numbers(alone))
    trained = train_group(group, [member], _Clock())[key]
    model = build_student(group, materials)
    costs = teachers.costs_of(model, materials, config, hardware)
    return teachers.keep(
        shelf, "teacher", key, trained, materials, config.pair.teacher.name, costs
    )
