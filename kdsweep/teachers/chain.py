"""Teachers that are taught: chains of assistants, generations of one architecture, ensembles.

Every network of a chain is found by the hash of all that made it, its own teacher's key included,
or is trained once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdsweep.config import Config, DistillConfig, ModelConfig, PairConfig
from kdsweep.data.device import DeviceDataset
from kdsweep.hardware.choose import Hardware
from kdsweep.models import create_model
from kdsweep.store import Store, digest
from kdsweep.teachers import keys
from kdsweep.teachers import stored as teachers
from kdsweep.teachers.keys import teacher_config
from kdsweep.teachers.stored import LOGITS, Found, evaluation_metrics
from kdsweep.train.dropout import refuse_other_randomness

_ALONE = DistillConfig(temperature=1.0, alpha=0.0)
TEACHER, ASSISTANT = "teacher", "assistant"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A network that teaches: the chain's first alone, an assistant from the one before it.

    Attributes:
        kind: ``teacher``, which is ``config.pair.teacher``, trained on labels or the user's own;
            or ``assistant``, which is ``config.pair.student``, taught by ``config.pair.teacher``.
        key: what it is found by.
        config: what it is trained with.
        seed: its own.
    """

    kind: str
    key: str
    config: Config
    seed: int

    @property
    def model(self) -> ModelConfig:
        """The network itself."""
        pair = self.config.pair
        return pair.teacher if self.kind == TEACHER else pair.student


def chains(config: Config, dataset: DeviceDataset, hardware: Hardware) -> list[list[Link]]:
    """Who teaches: a chain for each teacher of an ensemble; the last link of each teaches.

    Raises:
        UserError: the user's checkpoint is not there.
    """
    first = config.teacher.seed
    return [
        _chain(_with_teacher(config, seed=seed, ensemble=1), dataset, hardware)
        for seed in range(first, first + config.teacher.ensemble)
    ]


def _chain(config: Config, dataset: DeviceDataset, hardware: Hardware) -> list[Link]:
    """Assistants follow Mirzadeh et al. 2020 (TAKD); generations Furlanello et al. 2018."""
    pair, own = config.pair, config.teacher
    models: list[ModelConfig] = [pair.teacher, *own.assistants]
    if own.generations:
        models = [pair.student] * own.generations
    alone = _with_teacher(teacher_config(config), assistants=[], generations=0)
    alone = dataclasses.replace(
        alone, pair=PairConfig(teacher=models[0], student=pair.student), distill=_ALONE
    )
    key = keys.teacher_key(alone, dataset, hardware)
    links = [Link(kind=TEACHER, key=key, config=alone, seed=own.seed)]
    for place, model in enumerate(models[1:], start=1):
        taught = dataclasses.replace(
            _with_teacher(alone, checkpoint=None, checkpoint_epoch=None),
            pair=PairConfig(teacher=models[place - 1], student=model),
            distill=DistillConfig(
                temperature=own.assistant_temperature,
                alpha=own.assistant_alpha,
                losses={"hinton": {"weight": 1.0}},
            ),
        )
        seed = own.seed + place  # another start than its teacher's, where both are of one kind
        key = keys.assistant_key(taught, dataset, hardware, seed, links[-1].key)
        links.append(Link(kind=ASSISTANT, key=key, config=taught, seed=seed))
    return links


def _with_teacher(config: Config, **changes: Any) -> Config:
    changed = dataclasses.replace(config.teacher, **changes)
    return dataclasses.replace(config, teacher=changed)


def check(config: Config, dataset: DeviceDataset, hardware: Hardware) -> None:
    """See that every network of every chain can be had, and shown to know its classes.

    Raises:
        UserError: an unknown model, a checkpoint that is not there, or too few evaluation images.
    """
    teachers.refuse_too_few_images(config, dataset)
    with torch.random.fork_rng(devices=[]):
        for link in chains(config, dataset, hardware)[0]:
            key = "pair.teacher" if link.kind == TEACHER else "teacher.assistants"
            size = config.data.image_size
            model = create_model(link.model, classes=dataset.classes, image_size=size, key=key)
            if link.kind != TEACHER or link.config.teacher.checkpoint is None:
                refuse_other_randomness(model, size, given=f"{key}.name={link.model.name}")


def as_ensemble(store: Store, members: Sequence[Found], dataset: DeviceDataset) -> Found:
    """Several teachers as one: found by their keys, judged by the mean of their probabilities."""
    from safetensors.torch import save_file

    key = digest("ensemble", [member.key for member in members])
    with store.lock("ensemble", key):
        there = teachers.find(store, "ensemble", key)
        if there is None:
            mean = torch.stack([one.logits.softmax(-1) for one in members]).mean(0).log()
            metas = [member.meta for member in members]
            labels = dataset.evaluation.labels.cpu()
            meta = dataclasses.replace(
                metas[0],
                name=f"{len(members)} x {metas[0].name}",
                metrics=evaluation_metrics(mean, labels, dataset.evaluation.prefix),
                per_class=teachers.per_class(mean, dataset),
                costs={k: sum(m.costs[k] for m in metas) for k in metas[0].costs},
                history=[],
                seconds=sum(m.seconds for m in metas),
            )
            with store.write("ensemble", key, meta.to_json()) as folder:
                save_file({"logits": mean.contiguous()}, folder / LOGITS)
            there = teachers.find(store, "ensemble", key)
            assert there is not None
    return dataclasses.replace(there, members=tuple(members))
