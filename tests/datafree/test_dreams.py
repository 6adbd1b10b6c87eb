from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from kdsweep.config import Config, DataConfig, DistillConfig, InversionConfig, TrainConfig
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.datafree import dreams
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware
from kdsweep.store import Store
from kdsweep.teachers.meta import NetworkMeta
from kdsweep.teachers.stored import Found
from tests.train.setting import ONE_BY_ONE, Net

HARDWARE = dataclasses.replace(ONE_BY_ONE, dtype=torch.float32)
INVERSION = InversionConfig(images=25, batch_size=10, iterations=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dreams")


def config(place: Path, inversion: InversionConfig = INVERSION) -> Config:
    return Config(
        data=DataConfig(image_size=8, train_limit=64),
        distill=DistillConfig(losses={"hinton": {"weight": 1.0}}, inversion=inversion),
        train=TrainConfig(epochs=1, batch_size=32, threads=1),
        root=str(place),
    )


class Asked:
    """A teacher's network that counts how often it is loaded."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> nn.Module:
        self.times += 1
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return Net(4, classes=10).eval().requires_grad_(False)


def made(
    config: Config, load: Asked, *, key: str = "t", hardware: Hardware = HARDWARE
) -> tuple[Path, DeviceDataset, list[tuple[int, int]]]:
    store, steps = Store(Path(config.root)), list[tuple[int, int]]()
    meta = NetworkMeta(name="net", seed=0, classes=10, split="validation")
    teacher = Found(kind="teacher", key=key, folder=Path("nowhere"), meta=meta, found=True)
    dataset = Datasets().load(config, hardware)
    folder = dreams.find_or_make(
        store, teacher, load, config, dataset, hardware, lambda *step: steps.append(step)
    )
    return folder, dataset, steps


def test_they_are_made_once_and_found_ever_after(place: Path) -> None:
    load = Asked()
    folder, _, steps = made(config(place), load)
    assert steps == [(i, 12) for i in range(1, 13)]  # 10 + 10 + 5 images
    again, _, none = made(config(place), load)
    assert (again, none, load.times) == (folder, [], 1)
    split = dreams.load(folder)
    assert split.images.shape == (25, 3, 8, 8)
    assert split.images.dtype == torch.uint8
    assert split.images.float().std() > 10
    assert split.labels.bincount().tolist() == [3] * 5 + [2] * 5


def test_the_same_options_give_the_same_images(place: Path, tmp_path: Path) -> None:
    one, other = (dreams.load(made(config(root), Asked())[0]) for root in (place, tmp_path))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)


def test_whatever_makes_them_is_in_their_key(place: Path) -> None:
    folders = {
        made(config(place), Asked())[0],
        made(config(place), Asked(), key="another")[0],
        made(config(place, dataclasses.replace(INVERSION, seed=1)), Asked())[0],
        made(config(place, dataclasses.replace(INVERSION, bn_weight=1.0)), Asked())[0],
        made(config(place), Asked(), hardware=dataclasses.replace(HARDWARE, bf16=True))[0],
    }
    assert len(folders) == 5


def test_they_take_the_place_of_the_training_images_alone(place: Path) -> None:
    folder, real, _ = made(config(place), Asked())
    data = config(place).data
    mine = dreams.instead_of_real(real, folder, data, HARDWARE)
    index = torch.arange(25)
    seen = mine.views.render(index, torch.zeros_like(index))
    expected = real.evaluation.normalise(dreams.load(folder).images)
    assert torch.equal(seen, expected)
    assert torch.equal(mine.labels, dreams.load(folder).labels)
    assert mine.digest != real.digest
    assert mine.evaluation is real.evaluation
    assert mine.test is real.test


def test_a_teacher_without_batch_norm_is_refused(place: Path) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.GroupNorm(2, 4))
    with pytest.raises(UserError, match=r"^pair.teacher.name=cifar_teacher: allowed .* batch nor"):
        dreams.check(config(place), plain)
    dreams.check(config(place), Net())
    dreams.check(Config(), plain)
