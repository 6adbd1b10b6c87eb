"""Networks that are trained once and found ever after: teachers and baselines."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdsweep.config import Config
from kdsweep.data.device import DeviceDataset
from kdsweep.errors import UserError
from kdsweep.evaluate import (
    agreement,
    classification_metrics,
    correct,
    efficiency,
    fidelity_kl,
    pack_correctness,
    per_class_accuracy,
)
from kdsweep.evaluate.cost import flops_per_image, measure_latency, parameter_count, size_mib
from kdsweep.hardware.choose import Hardware
from kdsweep.models import create_model
from kdsweep.models.weights import load_weights
from kdsweep.results.record import NetworkRecord
from kdsweep.store import Store, writable
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.train.evaluation import predict_alone
from kdsweep.train.interfaces import Trained

WEIGHTS = "model.safetensors"
LOGITS = "logits.safetensors"
LEVEL = 1e-3  # of the test that a teacher knows its classes: one in so many guessers passes it


@dataclass(frozen=True, kw_only=True)
class Found:
    """A stored network: where it is and what was measured of it."""

    kind: str  # teacher, assistant, baseline or ensemble
    key: str
    folder: Path
    meta: NetworkMeta
    found: bool  # already there, not trained now
    members: tuple[Found, ...] = ()  # of an ensemble, which has no weights of its own

    @property
    def weights(self) -> Path:
        """The safetensors file of parameters and buffers."""
        return self.folder / WEIGHTS

    @property
    def logits(self) -> Tensor:
        """Its answers to the evaluation images [n, K], read from its file."""
        from safetensors.torch import load_file

        return load_file(self.folder / LOGITS)["logits"]

    @property
    def metrics(self) -> dict[str, float]:
        """On the evaluation images, after the last epoch; with its efficiency if it was timed."""
        return with_efficiency(dict(self.meta.metrics), self.meta.costs, self.meta.prefix)


def find(store: Store, kind: str, key: str) -> Found | None:
    """The stored network, if it is there whole."""
    content = store.find(kind, key)
    meta = None if content is None else NetworkMeta.from_json(content)
    if meta is None:
        return None
    return Found(kind=kind, key=key, folder=store.folder(kind, key), meta=meta, found=True)


def install_checkpoint(
    store: Store, key: str, config: Config, dataset: DeviceDataset, hardware: Hardware
) -> Found:
    """Store the user's checkpoint as a teacher, with its metrics on the evaluation images.

    Raises:
        UserError: the file does not fit the teacher's architecture or the classes.
    """
    model = create_model(
        config.pair.teacher,
        classes=dataset.classes,
        image_size=config.data.image_size,
        key="pair.teacher",
    )
    assert config.teacher.checkpoint is not None
    load_weights(model, config.teacher.checkpoint, option="teacher.checkpoint")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model = model.to(device=hardware.device, dtype=hardware.dtype)
    trained = Trained(
        name=config.pair.teacher.name,
        seed=config.teacher.seed,
        status="finished",
        state=state,
        logits=predict_alone(model, dataset.evaluation, hardware, config.evaluate.batch_size),
    )
    costs = costs_of(model.cpu().float(), dataset, config, hardware)
    return keep(store, "teacher", key, trained, dataset, config.pair.teacher.name, costs)


def keep(
    store: Store,
    kind: str,
    key: str,
    trained: Trained,
    dataset: DeviceDataset,
    name: str,
    costs: dict[str, float],
) -> Found:
    """Store a trained network with its metrics and its logits on the evaluation images."""
    from safetensors.torch import save_file

    assert trained.logits is not None
    labels = dataset.evaluation.labels.cpu()
    meta = NetworkMeta(
        name=name,
        seed=trained.seed,
        classes=dataset.classes,
        split=dataset.evaluation.name,
        images=len(labels),
        metrics=evaluation_metrics(trained.logits, labels, dataset.evaluation.prefix),
        per_class=per_class(trained.logits, dataset),
        costs=costs,
        history=trained.history,
        seconds=trained.seconds,
    )
    with store.write(kind, key, meta.to_json()) as folder:
        save_file(trained.state, folder / WEIGHTS, metadata={"model": name})
        save_file({"logits": trained.logits.contiguous()}, folder / LOGITS)
    return Found(kind=kind, key=key, folder=store.folder(kind, key), meta=meta, found=False)


def replay(found: Found) -> Trained:
    """A stored network as if it had just been trained."""
    from safetensors.torch import load_file

    return Trained(
        name=found.key,
        seed=found.meta.seed,
        status="finished",
        history=found.meta.history,
        state=load_file(found.weights),
        logits=found.logits,
        seconds=found.meta.seconds,
    )


def student_metrics(
    trained: Trained,
    dataset: DeviceDataset,
    teacher: Found | None,
    baselines: Sequence[NetworkRecord],
    *,
    last_epochs: int = 1,
) -> dict[str, float]:
    """A student's metrics, how far it follows its teacher, and its gain over the baselines' mean.

    ``delta_vs_baseline`` is in points of accuracy. Empty for a student that did not finish.
    """
    if trained.logits is None:
        return {}
    prefix = dataset.evaluation.prefix
    measured = evaluation_metrics(trained.logits, dataset.evaluation.labels.cpu(), prefix)
    measured = averaged(measured, trained.history, last_epochs)
    alone = mean_metric(baselines, f"{prefix}_accuracy")
    if alone is not None:
        measured["delta_vs_baseline"] = measured[f"{prefix}_accuracy"] - alone
    if teacher is not None:
        taught, mine = teacher.logits, trained.logits[None]
        measured[f"{prefix}_agreement"] = float(agreement(mine, taught)[0])
        measured[f"{prefix}_fidelity_kl"] = float(fidelity_kl(mine, taught)[0])
    return measured


def averaged(
    metrics: Mapping[str, float], history: Sequence[Mapping[str, float]], epochs: int
) -> dict[str, float]:
    """Metrics with those that every epoch has as means over so many last epochs.

    Where the rate does not fall to 0, the last epoch's accuracy has noise of its own, which an
    average over a few epochs takes out at no cost.
    """
    last = history[-epochs:]
    if epochs == 1 or len(last) < epochs:
        return dict(metrics)
    return {
        name: statistics.fmean(epoch[name] for epoch in last)
        if all(name in epoch for epoch in last)
        else value
        for name, value in metrics.items()
    }


def mean_metric(networks: Sequence[NetworkRecord], name: str) -> float | None:
    """The mean of a metric over the networks that have it; None where none has."""
    values = [one.metrics[name] for one in networks if name in one.metrics]
    return statistics.fmean(values) if values else None


def open_test(
    model: nn.Module,
    state: dict[str, Tensor],
    dataset: DeviceDataset,
    config: Config,
    hardware: Hardware,
) -> tuple[dict[str, float], Tensor]:
    """Metrics of a trained network on the test images, under ``test_...``, and which are right."""
    own = model.state_dict()
    model.load_state_dict({name: value for name, value in state.items() if name in own})
    model = model.to(device=hardware.device, dtype=hardware.dtype)
    logits = predict_alone(model, dataset.test, hardware, config.evaluate.batch_size)
    labels = dataset.test.labels.cpu()
    right = correct(logits[None], labels)[0]
    return evaluation_metrics(logits, labels, dataset.test.prefix), right


def save_student(folder: Path, trained: Trained, dataset: DeviceDataset) -> None:
    """Write a finished student's parameters, and which evaluation images it has right, bit by bit.

    What learned beside it and is not part of it, such as a generator, has a file of its own.
    """
    from safetensors.torch import save_file

    if trained.logits is None:
        return
    with writable(folder):
        save_file(trained.state, folder / f"student-seed{trained.seed}.safetensors")
        for part, state in trained.beside.items():
            save_file(state, folder / f"{part}-seed{trained.seed}.safetensors")
    right = correct(trained.logits[None], dataset.evaluation.labels.cpu())[0]
    save_correct(folder, f"seed{trained.seed}", right)


def save_correct(folder: Path, name: str, right: Tensor) -> None:
    """Write which images a network has right, bit by bit, as ``correct-NAME.bits``."""
    with writable(folder):
        (folder / f"correct-{name}.bits").write_bytes(pack_correctness(right))


def costs_of(
    model: nn.Module, dataset: DeviceDataset, config: Config, hardware: Hardware
) -> dict[str, float]:
    """Parameters, size, operations an image; and latency, where the configuration asks for it."""
    images = dataset.evaluation.normalise(dataset.evaluation.images[: config.train.batch_size])
    images = images.to(torch.float32)
    costs = {
        "parameters": float(parameter_count(model)),
        "size_mib": size_mib(model),
        "flops_per_image": float(flops_per_image(model, images[:1].cpu())),
    }
    if config.times_networks:
        costs.update(measure_latency(model.to(hardware.device), images).metrics())
    return costs


def evaluation_metrics(logits: Tensor, labels: Tensor, prefix: str) -> dict[str, float]:
    """Metrics of one network's logits [n, K], named for the images: val_accuracy, test_nll."""
    measured = classification_metrics(logits[None], labels)
    return {f"{prefix}_{name}": float(value[0]) for name, value in measured.items()}


def with_efficiency(
    measured: dict[str, float], costs: Mapping[str, float], prefix: str
) -> dict[str, float]:
    """Metrics with the efficiency among them, where the network has been timed."""
    if "latency_ms_p50" not in costs or f"{prefix}_accuracy" not in measured:
        return measured
    return {**measured, "efficiency": efficiency(measured[f"{prefix}_accuracy"], costs)}


def per_class(logits: Tensor | None, dataset: DeviceDataset) -> dict[str, float]:
    """Percent of each class's evaluation images that logits [n, K] have right."""
    if logits is None:
        return {}
    measured = per_class_accuracy(logits[None], dataset.evaluation.labels.cpu())[0]
    return dict(zip(dataset.host.classes, measured.tolist(), strict=True))


def refuse_untrained(found: Found) -> None:
    """Let no network teach that does not know its classes better than chance.

    Raises:
        UserError: guessing would have as many right with a probability above ``LEVEL``.
    """
    meta = found.meta
    right = round(meta.accuracy / 100 * meta.images)
    if chance_of_guessing(right, meta.images, meta.classes) > LEVEL:
        raise UserError(
            f"the teacher {meta.name} has {meta.accuracy:.2f} % of {meta.images} {meta.split} "
            f"images right, no better than guessing ({100 / meta.classes:.2f} %): an untrained "
            "teacher can't teach; raise teacher.epochs or give a trained teacher.checkpoint"
        )


def refuse_too_few_images(config: Config, dataset: DeviceDataset) -> None:
    """See, before anything is trained, that ``refuse_untrained`` lets a perfect teacher pass.

    Raises:
        UserError: guessing has all of so few images right with a probability above ``LEVEL``.
    """
    images, needed = len(dataset.evaluation.labels), images_needed(dataset.classes)
    if images >= needed:
        return
    given, mend = f"data.val_fraction={config.data.val_fraction}", "raise it, or use more images"
    if config.evaluate.protocol == "published":
        given, mend = "evaluate.protocol=published", "use more images"
    raise UserError(
        f"{given}: leaves {images} {dataset.evaluation.name} images of {dataset.classes} classes, "
        "on which no teacher can be told from guessing; allowed are "
        f"{needed} or more: {mend}"
    )


def images_needed(classes: int) -> int:
    """The fewest images on which a network that has all right can be told from guessing."""
    return next(n for n in itertools.count(1) if chance_of_guessing(n, n, classes) <= LEVEL)


def chance_of_guessing(right: int, images: int, classes: int) -> float:
    """P(X >= right) for X ~ Binomial(images, 1 / classes): the exact one-sided binomial test."""
    from scipy.stats import binomtest

    return float(binomtest(right, images, 1 / classes, alternative="greater").pvalue)
