"""What is kept of a network, and which networks may teach."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest
import torch

from kdsweep.config import Config, DataConfig, EvaluateConfig, TrainConfig
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.errors import UserError
from kdsweep.store import META, Store, with_checksum, write_json
from kdsweep.teachers import chain, stored
from kdsweep.teachers.meta import VERSION, NetworkMeta
from kdsweep.teachers.stored import Found
from kdsweep.train.interfaces import Trained
from tests.train.setting import ONE_BY_ONE

METRICS = {"val_accuracy": 62.5, "val_nll": 1.25}
WRITTEN = NetworkMeta(
    name="resnet8", seed=3, classes=2, split="validation", images=16, metrics=METRICS,
    per_class={"cat": 75.0, "dog": 50.0}, costs={"parameters": 77.0},
    history=[{"train_loss": 0.5, **METRICS}], seconds=1.5,
)  # fmt: skip


def test_metadata_makes_the_way_to_json_and_back() -> None:
    assert NetworkMeta.from_json(json.loads(json.dumps(WRITTEN.to_json()))) == WRITTEN
    assert NetworkMeta.from_json({**WRITTEN.to_json(), "files": {}, "sha256": ""}) == WRITTEN


def test_metadata_of_another_version_is_none() -> None:
    assert NetworkMeta.from_json({**WRITTEN.to_json(), "version": VERSION + 1}) is None
    assert NetworkMeta.from_json({}) is None


@pytest.mark.parametrize(("split", "prefix"), [("validation", "val"), ("test", "test")])
def test_metrics_are_named_for_their_images(split: str, prefix: str) -> None:
    meta = dataclasses.replace(WRITTEN, split=split, metrics={f"{prefix}_accuracy": 50.0})
    assert (meta.prefix, meta.accuracy) == (prefix, 50.0)


def dataset(root: Path, **data: object) -> DeviceDataset:
    config = Config(data=DataConfig(image_size=8, **data), root=str(root))
    return Datasets().load(config, ONE_BY_ONE)


def test_what_is_kept_is_found_and_can_be_replayed(tmp_path: Path) -> None:
    store, images = Store(tmp_path), dataset(tmp_path)
    logits = torch.nn.functional.one_hot(images.evaluation.labels, 10).float()
    trained = Trained(
        name="key", seed=3, status="finished", history=[{"train_loss": 0.5}],
        state={"w": torch.arange(3.0)}, logits=logits, seconds=1.5,
    )  # fmt: skip
    kept = stored.keep(store, "teacher", "key", trained, images, "resnet8", {"parameters": 3.0})
    found = stored.find(store, "teacher", "key")
    assert found == dataclasses.replace(kept, found=True)
    assert found is not None
    assert found.metrics["val_accuracy"] == found.meta.accuracy == 100
    again = stored.replay(found)
    assert (again.seed, again.history, again.seconds) == (3, [{"train_loss": 0.5}], 1.5)
    assert torch.equal(again.state["w"], trained.state["w"])
    assert again.logits is not None
    assert torch.equal(again.logits, logits)


def test_an_edited_accuracy_is_not_believed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.write("baseline", "key", WRITTEN.to_json()):
        pass
    path = store.folder("baseline", "key") / META
    path.write_text(path.read_text().replace("62.5", "99.0"))
    assert stored.find(store, "baseline", "key") is None


def test_a_network_of_another_version_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.write("baseline", "key", WRITTEN.to_json()):
        pass
    assert stored.find(store, "baseline", "key") is not None
    older = {**WRITTEN.to_json(), "version": VERSION - 1, "files": {}}
    write_json(store.folder("baseline", "key") / META, with_checksum(older))
    assert stored.find(store, "baseline", "key") is None


def teacher(right: int, images: int, classes: int) -> Found:
    metrics = {"val_accuracy": 100 * right / images}
    meta = dataclasses.replace(WRITTEN, classes=classes, images=images, metrics=metrics)
    return Found(kind="teacher", key="k", folder=Path("nowhere"), meta=meta, found=True)


def tail(right: int, images: int, classes: int) -> Fraction:
    """P(X >= right) for X ~ Binomial(images, 1 / classes), without rounding."""
    p = Fraction(1, classes)
    terms = (comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(right, images + 1))
    return sum(terms, Fraction(0))


@pytest.mark.parametrize(
    ("right", "images", "classes"),
    [(10, 10, 2), (66, 100, 2), (21, 100, 10), (14, 1000, 200), (2, 2, 100)],
)
def test_a_teacher_teaches_from_the_first_count_that_guessing_does_not_reach(
    right: int, images: int, classes: int
) -> None:
    assert tail(right, images, classes) <= Fraction(1, 1000) < tail(right - 1, images, classes)
    stored.refuse_untrained(teacher(right, images, classes))
    with pytest.raises(UserError, match="no better than guessing"):
        stored.refuse_untrained(teacher(right - 1, images, classes))


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 31, 32, 100, 1000])
def test_a_perfect_teacher_passes_on_as_many_images_as_are_asked_for(classes: int) -> None:
    needed = stored.images_needed(classes)
    stored.refuse_untrained(teacher(needed, needed, classes))
    if needed > 1:
        with pytest.raises(UserError, match="no better than guessing"):
            stored.refuse_untrained(teacher(needed - 1, needed - 1, classes))


def few(images: DeviceDataset, count: int) -> DeviceDataset:
    """The same dataset of two classes and so many evaluation images."""
    evaluation = dataclasses.replace(
        images.evaluation,
        images=images.evaluation.images[:count],
        labels=images.evaluation.labels[:count] % 2,
    )
    host = dataclasses.replace(images.host, classes=("a", "b"))
    return dataclasses.replace(images, host=host, evaluation=evaluation)


def test_too_few_images_are_refused_before_training(tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(image_size=8, val_fraction=0.25), train=TrainConfig(threads=1),
        root=str(tmp_path),
    )  # fmt: skip
    images = dataset(tmp_path)
    chain.check(config, few(images, 10), ONE_BY_ONE)
    with pytest.raises(UserError) as caught:
        chain.check(config, few(images, 9), ONE_BY_ONE)
    assert str(caught.value) == (
        "data.val_fraction=0.25: leaves 9 validation images of 2 classes, on which no teacher can "
        "be told from guessing; allowed are 10 or more: raise it, or use more images"
    )


def test_too_few_test_images_are_refused_in_the_published_protocol(tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(image_size=8, val_fraction=0.0),
        evaluate=EvaluateConfig(protocol="published"),
        root=str(tmp_path),
    )
    images = few(Datasets().load(config, ONE_BY_ONE), 9)
    with pytest.raises(UserError, match=r"^evaluate.protocol=published: leaves 9 test images"):
        chain.check(config, images, ONE_BY_ONE)
