"""From a choice to the manifest and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

import kdsweep
from kdsweep.config import Config, DataConfig
from kdsweep.package.candidates import BASELINE, Candidate
from kdsweep.package.choice import Choice
from kdsweep.package.formats import Format
from kdsweep.package.manifest import Manifest, Scores
from kdsweep.package.sample import Sample
from kdsweep.plugins import source_of
from kdsweep.registry import ORIGINS
from kdsweep.results.record import NetworkRecord


def describe(choice: Choice, config: Config, *, study: str) -> Manifest:
    """The manifest of what was chosen.

    Args:
        choice: what is shipped.
        config: that it was trained with.
        study: its name.
    """
    candidate, weights = choice.candidate, choice.weights
    record, model = candidate.record, config.pair.student
    return Manifest(
        kdsweep=kdsweep.__version__,
        study=study,
        role=candidate.role,
        cell=candidate.label,
        trial=weights.trial,
        cell_choice=choice.cell_reason,
        seed=choice.seed,
        seed_choice=choice.seed_reason,
        architecture=model.name,
        width=model.width,
        kwargs=model.kwargs,
        plugin=ORIGINS.get(("model", model.name)),
        plugin_source=source_of("model", model.name),
        classes=weights.classes,
        image_size=config.data.image_size,
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        parameters=int(record.costs["parameters"]),
        size_mib=record.costs["size_mib"],
        flops_per_image=record.costs["flops_per_image"],
        dataset=dataset_name(config.data),
        training=_training(config, record.teacher, taught=candidate.role != BASELINE),
        accuracy=weights.accuracy(f"{record.prefix}_accuracy"),
        accuracy_split=record.split,
        accuracy_images=record.images,
        expected=candidate.expected,
        alone=candidate.alone,
        teacher=_teacher(record.teacher, f"{record.prefix}_accuracy", record.split, record.images),
        verdict=candidate.judgement,
        sweep_verdict=candidate.swept,
        verdict_sentence=candidate.sentence,
        warning=_warning(candidate),
    )


def _warning(candidate: Candidate) -> str | None:
    """That the baseline should be shipped instead; None where nothing says so."""
    found = candidate.found_worse
    if found is None:
        return None
    if found.confirmed:
        by = "the confirmation, on test"
    elif not candidate.confirmed:
        by = f"the sweep, on {found.split}"
    else:
        by = f"the sweep, on {found.split}; its confirmation left it open"
    return (
        f"this student was found WORSE than the same student trained without a teacher "
        f"({found.difference:+.2f} points, {100 * found.level:g} % interval [{found.low:+.2f}, "
        f"{found.high:+.2f}], by {by}); that one is the better to ship: cell=baseline packages it"
    )


def dataset_name(data: DataConfig) -> str:
    """The dataset; of a user's own images the folder, without where it lies."""
    if data.source != "kdsweep":
        return f"{data.source} {data.name}"
    own = data.name in ("imagefolder", "arrays") and data.root is not None
    return f"{data.name} {Path(data.root or '').name}" if own else data.name


def _teacher(teacher: NetworkRecord | None, metric: str, split: str, images: int) -> Scores | None:
    if teacher is None or metric not in teacher.metrics:
        return None
    return Scores.of({teacher.seed: teacher.metrics[metric]}, split=split, images=images)


def _training(config: Config, teacher: NetworkRecord | None, *, taught: bool) -> dict[str, str]:
    """How it was trained, in words, by what is told."""
    train, distill, views = config.train, config.distill, config.data.views
    told = {"distillation": "none: labels alone"}
    if taught and distill.losses:
        losses = " + ".join(distill.losses)
        told["distillation"] = (
            f"{losses}, temperature {distill.temperature:g}, alpha {distill.alpha:g} (the weight "
            "of the distillation term)"
        )
        if distill.schedules:
            told["distillation"] += f", {', '.join(distill.schedules)} scheduled"
        if distill.without_images is not None:
            told["training images"] = f"none that are real: {distill.without_images}"
    if taught and teacher is not None:
        told["teacher"] = f"{teacher.name}, seed {teacher.seed}"
    told["optimiser"] = (
        f"{train.optimizer.name}, learning rate {train.optimizer.lr:g} ({config.schedule.name}), "
        f"weight decay {train.optimizer.weight_decay:g}"
    )
    told["length"] = f"{train.epochs} epochs in batches of {train.batch_size}"
    shifts = f"shifts of up to {views.padding} pixels" if views.padding else "no shifts"
    told["augmentation"] = f"{shifts}, {'mirrored or not' if views.flip else 'not mirrored'}"
    for name, value in (("random erasing", views.erase), ("mixup", views.mixup)):
        if value:
            told["augmentation"] += f", {name} {value:g}"
    told["precision"] = train.precision
    return told


def model_card(
    manifest: Manifest, formats: Sequence[Format], *, checked: Sequence[str], sample: Sample | None
) -> str:
    """The card in Markdown.

    Args:
        manifest: of the model.
        formats: that are in the package.
        checked: what was found when the files were compared, a sentence each.
        sample: the picture in the package, where there is one.
    """
    environment = Environment(
        loader=PackageLoader("kdsweep.package", "."),
        autoescape=False,  # Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md").render(
        model=manifest,
        formats=formats,
        checked=checked,
        files=[one.file for one in formats],
        sample=sample,
    )
