"""Students of ``deep_inversion`` and ``data_free`` never read a real training image."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from hydra import compose, initialize_config_dir

from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import typed
from kdsweep.data import Split
from kdsweep.data.device import Datasets, DeviceDataset, views_of
from kdsweep.errors import UserError
from kdsweep.evaluate.cost import parameter_count
from kdsweep.hardware.choose import Hardware
from kdsweep.jobs.batch import run_plans
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.plan import plan
from kdsweep.jobs.session import Session
from kdsweep.results.record import Record
from kdsweep.sweeper.plugins import register
from tests.test_methods import QUICK, SMALLER

MADE = ("deep_inversion", "data_free", "data_free_adversarial")


class Untouchable:
    """Pixels that no one may look at."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise AssertionError(f"a real training image was read: {name}")

    def __getitem__(self, place: object) -> NoReturn:
        raise AssertionError("a real training image was read")

    def __len__(self) -> NoReturn:
        raise AssertionError("a real training image was counted")


load = Datasets.load


def without_pixels(datasets: Datasets, config: Config, hardware: Hardware) -> DeviceDataset:
    real = load(datasets, config, hardware)
    hidden = Split(images=Untouchable(), labels=real.host.train.labels)
    return dataclasses.replace(
        real,
        host=dataclasses.replace(real.host, train=hidden),
        make_views=partial(views_of, hidden, config.data, hardware),
    )


def job(root: Path, method: str, *more: str) -> Job:
    register()
    with initialize_config_dir(str(conf_dir())):
        given = [*QUICK, f"root={root}", f"distill={method}", *SMALLER.get(method, ()), *more]
        config = typed(compose("config", given))
    folder = root / f"job-{len(list(root.glob('job-*')))}"
    folder.mkdir()
    return Job(config=config, folder=folder)


def run(*jobs: Job) -> list[Outcome]:
    """What became of jobs of one root."""
    with Session(jobs[0].config) as session:
        outcomes = run_plans(session, plan(jobs))
    return [outcomes[job.folder] for job in jobs]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a teacher and a baseline have been trained, on real images."""
    root = tmp_path_factory.mktemp("free")
    (outcome,) = run(job(root, "hinton"))
    assert outcome.error is None
    return root


def hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Datasets, "load", without_pixels)


def record(job: Job) -> Record:
    (outcome,) = run(job)
    assert outcome.error is None
    assert outcome.record is not None
    return outcome.record


@pytest.mark.parametrize("method", MADE)
def test_no_real_image_is_read(root: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    hide(monkeypatch)
    made = record(job(root, method))
    assert made.state == "complete"
    source = "inversion" if method == "deep_inversion" else "generator"
    assert made.config["distill"][source]
    assert made.seeds[0].metrics["val_agreement"] >= 0


def test_other_methods_do_read_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap works: the same pixels can not be had by a student that needs them."""
    hide(monkeypatch)
    with pytest.raises(AssertionError, match="a real training image was read"):
        run(job(root, "dkd"))


@pytest.mark.parametrize("method", ["data_free", "data_free_adversarial"])
def test_the_generator_is_saved_and_counted(root: Path, method: str) -> None:
    from safetensors.torch import load_file

    from kdsweep.datafree.generator import Generator

    own = job(root, method)
    metrics = record(own).seeds[0].metrics
    network = Generator(latent=16, size=own.config.data.image_size)
    network.load_state_dict(load_file(own.folder / "generator-seed0.safetensors"))
    assert metrics["generator_parameters"] == parameter_count(network)


def test_the_discriminator_and_its_adapter_are_saved_and_counted(root: Path) -> None:
    from safetensors.torch import load_file

    own = job(root, "adversarial", "distill.losses.adversarial.sees=features")
    metrics = record(own).seeds[0].metrics
    saved = load_file(own.folder / "discriminator-seed0.safetensors")
    assert metrics["discriminator_parameters"] == sum(value.numel() for value in saved.values())
    student = load_file(own.folder / "student-seed0.safetensors")
    adapters = [value.numel() for name, value in student.items() if name.startswith("adapters.")]
    assert metrics["adapter_parameters"] == sum(adapters) > 0
    logits = record(job(root, "adversarial")).seeds[0]
    assert "adapter_parameters" not in logits.metrics
    assert logits.history != record(own).seeds[0].history


def test_what_learns_beside_a_student_travels_between_processes(root: Path) -> None:
    two = ("seeds=2", "train.threads=2", "train.fuse=workers")
    alone, shared = job(root, "data_free"), job(root, "data_free", *two)
    first, both = record(alone), record(shared)
    assert (shared.folder / "generator-seed1.safetensors").is_file()
    own, other = (r.seeds[0].history[0]["val_nll"] for r in (first, both))
    assert own == pytest.approx(other, abs=1e-4)


def test_losses_that_remember_images_need_images(root: Path) -> None:
    crd = "+distill.losses.crd.negatives=16"
    with pytest.raises(UserError, match=r"^distill.losses.crd: allowed is a loss that does not"):
        plan([job(root, "data_free", crd)])
    assert plan([job(root, "deep_inversion", crd)])


def test_a_loss_without_a_teacher_still_learns_the_teachers_labels(root: Path) -> None:
    no_teacher = ("~distill.losses.hinton", "+distill.losses.label_smoothing.weight=1")
    (only,) = plan([job(root, "data_free", *no_teacher)])
    assert only.needs_teacher
    assert record(only.jobs[0]).state == "complete"
