"""Time the plain loop, kdsweep solo and kdsweep fused, in turns, and write down what came out."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from kdsweep.bench import machine, options
from kdsweep.bench.clock import Clock
from kdsweep.bench.memory import alone, grid_members, memory_by_members
from kdsweep.bench.methods import compare_methods, drawn_teacher
from kdsweep.bench.options import Options
from kdsweep.bench.plain import PlainLoop
from kdsweep.bench.table import table
from kdsweep.config import Config, DataConfig, DistillConfig, TrainConfig
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.engines import Task
from kdsweep.engines.local import LocalEngine
from kdsweep.engines.networks import PopulationSpec, build_student, load_teacher
from kdsweep.engines.population import train_population
from kdsweep.hardware.choose import Hardware, choose_hardware, configure
from kdsweep.jobs.grouping import numbers
from kdsweep.store import Store, writable
from kdsweep.teachers import keys
from kdsweep.teachers import stored as teachers
from kdsweep.teachers.stored import Found
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member

BANK_IMAGES = 10_000  # at most, to measure how fast a bank is filled


def main(given: list[str]) -> None:
    """Run the benchmark that the arguments describe."""
    asked = options.read(given)
    if asked.methods is not None:
        result = compare_methods(
            asked.methods,
            images=asked.images,
            root=asked.root,
            steps=asked.steps,
            rounds=asked.rounds,
        )
    elif asked.accuracy is not None:
        result = compare_accuracy(
            bench_config(asked, asked.limit, val_fraction=0.1), asked.accuracy, asked.seeds
        )
    else:  # judging must not weigh in time
        result = compare_time(bench_config(asked, asked.steps * 128, val_fraction=0.002), asked)
    result["machine"] = machine.describe(choose_hardware(TrainConfig(fuse=asked.fuse)).device)
    text = table(result)
    with writable(asked.out):
        asked.out.mkdir(parents=True, exist_ok=True)
        name = {"time": "bench"}.get(result["kind"], result["kind"])
        (asked.out / f"{name}.json").write_text(json.dumps(result, indent=1))
        (asked.out / f"{name}.md").write_text(text)
    print(text)


def bench_config(asked: Options, images: int | None, *, val_fraction: float) -> Config:
    """System 1's training on so many of the images."""
    return Config(
        data=DataConfig(
            name="imagefolder", root=asked.images, val_fraction=val_fraction, train_limit=images
        ),
        distill=DistillConfig(losses={"hinton": {"weight": 1.0}}),
        train=TrainConfig(fuse=asked.fuse),
        root=asked.root,
    )


def fused_seconds(spec: PopulationSpec, members: int, hardware: Hardware, steps: int) -> float:
    """Seconds of one step of all members, evaluation included, over the epochs after the first."""
    processes = min(hardware.workers, members)
    if processes == 1:  # in this one the plain loop has left its traces
        ends: list[float] = alone(_epoch_ends, spec, members)
    else:
        clock = Clock()
        own = grid_members(spec.config, members)
        _train_together(spec, own, clock)
        ends = clock.ends
    epochs = spec.config.train.epochs
    return (ends[-1] - ends[processes - 1]) / ((epochs - 1) * steps)


def _epoch_ends(spec: PopulationSpec, members: int) -> list[float]:
    clock = Clock()
    train_population(spec, grid_members(spec.config, members), clock)
    return clock.ends


def compare_time(config: Config, asked: Options) -> dict[str, Any]:
    """Seconds a step of each contender, round by round."""
    steps = asked.steps
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=3))
    hardware = choose_hardware(config.train)
    configure(hardware)
    dataset = Datasets().load(config, hardware)
    teacher = drawn_teacher(Store(Path(config.root)), config, dataset)
    plain = PlainLoop(
        config=config,
        dataset=dataset.host,
        teacher=load_teacher(PopulationSpec(config=config, teacher=teacher), dataset, hardware),
        device=hardware.device,
    )
    contenders: dict[str, tuple[PopulationSpec, int, Hardware]] = {}
    for precision in asked.precisions:
        own = dataclasses.replace(
            config, train=dataclasses.replace(config.train, precision=precision)
        )
        for members in asked.members:
            contenders[f"kdsweep {precision} N={members}"] = (
                PopulationSpec(config=own, teacher=teacher),
                members,
                choose_hardware(own.train),
            )
    memory = memory_by_members(config, teacher, asked.members)  # before other images are read
    bank = {p: _bank_seconds(config, p) for p in asked.precisions}
    seconds: dict[str, list[float]] = {}
    for number in range(asked.rounds + 1):  # the first fills the banks, and is not counted
        measured = {"plain": plain.epoch(steps)}
        for name, (spec, members, own_hardware) in contenders.items():
            measured[name] = fused_seconds(spec, members, own_hardware, steps) / members
        for name, each in measured.items() if number > 0 else ():
            seconds.setdefault(name, []).append(each)
    peaks = {
        name: machine.convolution_peak(hardware.device, bf16=name == "bf16")
        for name in ("float32", "bf16")
    }
    return {
        "kind": "time",
        "steps": steps,
        "rounds": asked.rounds,
        "seconds_per_student_step": seconds,
        "bank_seconds_per_image": bank,
        "peak_flops": peaks,
        "student_step_flops": _step_flops(config, dataset),
        "memory_gib": memory,
    }


def _bank_seconds(config: Config, precision: str) -> float:
    """Seconds to fill one (image, view) pair of a fresh bank, all cores at work.

    Of as many pairs as there are batches for the processes to share: with a few they would
    compute some of them twice, and wait for the last.
    """
    import shutil

    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, train_limit=None),
        train=dataclasses.replace(config.train, precision=precision, epochs=1),
    )
    hardware = choose_hardware(config.train)
    configure(hardware)
    dataset = Datasets().load(config, hardware)
    if len(dataset.labels) > BANK_IMAGES:
        limited = dataclasses.replace(config.data, train_limit=BANK_IMAGES)
        config = dataclasses.replace(config, data=limited)
        dataset = Datasets().load(config, hardware)
    teacher = drawn_teacher(Store(Path(config.root)), config, dataset)
    spec = PopulationSpec(config=config, teacher=teacher)
    _epoch_seconds(spec, hardware)  # starts the workers
    shutil.rmtree(Path(config.root) / "store" / "bank", ignore_errors=True)
    cold = _epoch_seconds(spec, hardware)
    warm = _epoch_seconds(spec, hardware)
    return max(cold - warm, 0.0) / len(dataset.labels)


def _epoch_seconds(spec: PopulationSpec, hardware: Hardware) -> float:
    members = [
        Member(name=f"m{i}", seed=0, hyper=numbers(spec.config))
        for i in range(max(hardware.workers, 1))
    ]
    started = time.perf_counter()
    if hardware.workers > 1:
        _train_together(spec, members, Clock())
    else:
        train_population(spec, members, Clock())
    return time.perf_counter() - started


def _step_flops(config: Config, dataset: DeviceDataset) -> float:
    from kdsweep.evaluate.cost import flops_per_image

    model = build_student(PopulationSpec(config=config), dataset)
    images = dataset.evaluation.normalise(dataset.evaluation.images[:1].cpu()).float()
    return 3.0 * flops_per_image(model, images) * config.train.batch_size


def compare_accuracy(config: Config, epochs: int, seeds: list[int]) -> dict[str, Any]:
    """Validation accuracy of both loops with the same seeds, teacher and protocol."""
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs))
    hardware = choose_hardware(config.train)
    configure(hardware)
    dataset = Datasets().load(config, hardware)
    store = Store(Path(config.root))
    teacher = _trained_teacher(config, dataset, hardware, store)
    spec = PopulationSpec(config=config, teacher=teacher)
    members = [Member(name=str(s), seed=s, hyper=numbers(config)) for s in seeds]
    if hardware.workers > 1 and len(members) > 1:
        trained = _train_together(spec, members, Clock())
    else:
        trained = train_population(spec, members, Clock())
    ours = [trained[str(s)].history[-1]["val_accuracy"] for s in seeds]
    network = load_teacher(spec, dataset, hardware)
    images = dataset.evaluation.normalise(dataset.evaluation.images.cpu()).float()
    theirs = []
    for seed in seeds:
        loop = PlainLoop(
            config=config, dataset=dataset.host, teacher=network,
            device=hardware.device, seed=seed,
        )  # fmt: skip
        for _ in range(epochs):
            loop.epoch()
        theirs.append(loop.accuracy(images, dataset.evaluation.labels.cpu()))
    return {
        "kind": "accuracy", "epochs": epochs, "seeds": seeds, "plain": theirs, "kdsweep": ours,
        "teacher": teacher.metrics["val_accuracy"], "images": config.data.root,
        "train_images": len(dataset.labels), "evaluation_images": len(dataset.evaluation.labels),
    }  # fmt: skip


def _trained_teacher(
    config: Config, dataset: DeviceDataset, hardware: Hardware, store: Store
) -> Found:
    key = keys.teacher_key(config, dataset, hardware)
    found = teachers.find(store, "teacher", key)
    if found is not None:
        return found
    alone = dataclasses.replace(config, distill=DistillConfig(temperature=1.0, alpha=0.0))
    spec = PopulationSpec(config=alone, role="teacher")
    member = Member(name=key, seed=config.teacher.seed, hyper=numbers(alone))
    trained = train_population(spec, [member], Clock())[key]
    model = build_student(spec, dataset)
    costs = teachers.costs_of(model, dataset, config, hardware)
    return teachers.keep(store, "teacher", key, trained, dataset, config.pair.teacher.name, costs)


def _train_together(
    spec: PopulationSpec, members: list[Member], clock: Clock
) -> dict[str, Trained]:
    """Train in processes that this starts and ends."""
    engine = LocalEngine()
    try:
        return engine.submit(Task(spec=spec, members=tuple(members)), clock).result()
    finally:
        engine.close()
