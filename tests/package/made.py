"""A study whose students were not trained: random features, and a head that is solved for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdsweep.config import Config, DataConfig, ModelConfig, PairConfig, TrackingConfig, TrainConfig
from kdsweep.config.data import ViewsConfig
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.evaluate.cost import flops_per_image, parameter_count, size_mib
from kdsweep.hardware.choose import Hardware, choose_hardware
from kdsweep.models import ImageClassifier, create_model
from kdsweep.results.cells import cells_of
from kdsweep.results.race import Race
from kdsweep.results.record import NetworkRecord, Record, SeedRecord, write_record
from kdsweep.store import Store, write_json
from kdsweep.teachers.stored import evaluation_metrics, keep, per_class, save_correct, save_student
from kdsweep.train.evaluation import predict_alone
from kdsweep.train.interfaces import Trained

CELLS = {0: 2.0, 1: 0.05}  # by trial: how much its heads are held back
SEEDS = (0, 1, 2)
BASELINES = (1_000_000, 1_000_001, 1_000_002)
FRESH = (3, 4, 5)  # of the confirmation
RUN = "0123456789abcdef0123456789abcdef"


def config_of(root: Path) -> Config:
    return Config(
        root=str(root),
        study="s",
        data=DataConfig(
            name="digits", image_size=8, val_fraction=0.4, mean=[0.2, 0.3, 0.4],
            std=[0.5, 0.25, 0.3], views=ViewsConfig(padding=1, flip=False),
        ),
        pair=PairConfig(student=ModelConfig(name="cifar_student", width=0.25)),
        train=TrainConfig(device="cpu", precision="float32"),
        tracking=TrackingConfig(backend="none"),
    )  # fmt: skip


class MadeStudy:
    """Writes what a sweep, and its confirmation, leave behind.

    Attributes:
        root: the folder of everything.
        records: of the cells, by trial.
    """

    def __init__(self, root: Path, *, cells: Mapping[int, float] = CELLS, **changes: Any) -> None:
        self.root, self.cells = root, cells
        self.folder = root / "hydra" / "studies" / "s"
        self.config = dataclasses.replace(config_of(root), **changes)
        self.hardware: Hardware = choose_hardware(self.config.train)
        self.dataset: DeviceDataset = Datasets().load(self.config, self.hardware)
        self.baselines = [self._baseline(seed) for seed in BASELINES]
        self.records = {
            trial: self.job(self.folder / str(trial), trial, SEEDS, held)
            for trial, held in cells.items()
        }
        race = Race.of(cells_of(list(self.records.values())), margin=0.5)
        assert race is not None
        race.write(self.folder)

    def job(self, folder: Path, trial: int, seeds: Sequence[int], held: float) -> Record:
        """Write a job's folder."""
        folder.mkdir(parents=True)
        kept, networks = {}, {}
        for seed in seeds:
            network, trained = self._student(seed, held)
            save_student(folder, trained, self.dataset)
            networks[seed] = network
            kept[seed] = self._seed(trained)
        values = [one.metrics["val_accuracy"] for one in kept.values()]
        record = Record(
            study="s", trial=trial, round=1, overrides=(f"distill.temperature={trial + 1}",),
            state="complete", reason=None, objectives=("val_accuracy",),
            values=(sum(values) / len(values),), split="validation",
            images=len(self.dataset.evaluation.labels), run_id=None, seconds=1.0,
            costs=self._costs(networks[seeds[0]]), config=dataclasses.asdict(self.config),
            seeds=kept, baselines=tuple(self.baselines), teacher=None,
        )  # fmt: skip
        write_record(folder, record)
        return record

    def confirm(self, *, side: str = "best", words: Sequence[str] = ("better", "open")) -> None:
        """Write a confirmation of both cells, with these verdicts."""
        folder = self.root / "confirmations" / "s"
        cells = []
        for (trial, held), word in zip(self.cells.items(), words, strict=True):
            own = folder / "round-1" / f"trial-{trial}"
            record = self.job(own, trial, FRESH, held)
            write_record(own, dataclasses.replace(record, seeds=self._tested(own, record)))
            cells.append(
                {
                    "trial": trial, "point": {"distill.temperature": str(trial + 1)},
                    "verdict": word, "difference": 1.0, "low": 0.25, "high": 1.75, "n": 3,
                }
            )  # fmt: skip
        verdict = {"round": 1, "study": "s", "side": side, "lines": [], "cells": cells}
        write_json(folder / "verdict.json", verdict)

    def _tested(self, folder: Path, record: Record) -> dict[int, SeedRecord]:
        tested = {}
        for seed, kept in record.seeds.items():
            save_correct(folder, f"test-seed{seed}", torch.arange(359) < 350 - seed)
            metrics = {**kept.metrics, "test_accuracy": 100 * (350 - seed) / 359}
            tested[seed] = dataclasses.replace(kept, metrics=metrics)
        return tested

    def _baseline(self, seed: int) -> NetworkRecord:
        network, trained = self._student(seed, 0.5)
        costs, key = self._costs(network), f"baseline{seed}"
        keep(Store(self.root), "baseline", key, trained, self.dataset, "cifar_student", costs)
        one = self._seed(trained)
        return NetworkRecord(
            key=key, name="cifar_student", seed=seed, metrics=one.metrics,
            per_class=one.per_class, costs=costs,
        )  # fmt: skip

    def _student(self, seed: int, held: float) -> tuple[ImageClassifier, Trained]:
        """A network of random features; ``held`` is the ridge of its head."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = create_model(self.config.pair.student, classes=10, image_size=8)
        images = self.dataset.evaluation.normalise(self.dataset.host.train.images[:400])
        seen: list[Tensor] = []
        head = model.get_submodule(model.classifier)
        hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        with torch.no_grad():
            for _ in range(20):  # for the running statistics
                model.train()(images)
            model.eval()(images)
            hook.remove()
            features = torch.cat([seen[-1], torch.ones(len(images), 1)], dim=1).double()
            wanted = torch.nn.functional.one_hot(self.dataset.host.train.labels[:400]).double()
            square = features.T @ features + held * torch.eye(features.shape[1])
            solved = torch.linalg.solve(square, features.T @ (10 * wanted)).float().T
            head.weight.copy_(solved[:, :-1])
            head.bias.copy_(solved[:, -1])
        logits = predict_alone(model, self.dataset.evaluation, self.hardware, 256)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        trained = Trained(name=str(seed), seed=seed, status="finished", state=state, logits=logits)
        return model, trained

    def _seed(self, trained: Trained) -> SeedRecord:
        assert trained.logits is not None
        labels = self.dataset.evaluation.labels
        return SeedRecord(
            status="finished", reason=None, seconds=1.0, run_id=RUN,
            metrics=evaluation_metrics(trained.logits, labels, "val"),
            per_class=per_class(trained.logits, self.dataset), history=(),
        )  # fmt: skip

    def _costs(self, model: ImageClassifier) -> dict[str, float]:
        return {
            "parameters": float(parameter_count(model)),
            "size_mib": size_mib(model),
            "flops_per_image": float(flops_per_image(model, torch.zeros(1, 3, 8, 8))),
        }


def rewrite(folder: Path, **changes: Any) -> None:
    """Change fields of a record's file."""
    path = folder / "result.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))
