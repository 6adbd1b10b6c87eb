"""What each stored artefact is found by: for every field of the configuration, yes or no."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from kdsweep.config import (
    Config,
    DataConfig,
    GeneratorConfig,
    InversionConfig,
    ModelConfig,
    PairConfig,
    TeacherConfig,
    TrainConfig,
)
from kdsweep.data import register_dataset
from kdsweep.data.device import Datasets, DeviceDataset
from kdsweep.errors import UserError
from kdsweep.hardware.choose import Hardware, choose_hardware
from kdsweep.teachers import chain, keys

# What changes with a field: the key of the (t)eacher, of an (a)ssistant that it teaches, of the
# (b)aseline, and the name of a teacher's bank of (l)ogits, where that teacher is the same one.
# A field that is missing here fails: whoever adds one decides what it changes.
EVERYTHING, NETWORKS, TAUGHT, BASELINE, NOTHING = "tabl", "tab", "ta", "b", ""
ASSISTANT = "a"
TABLE: dict[str, tuple[object, str]] = {
    "data.source": ("registered", EVERYTHING),  # with the name of a function
    "data.name": ("imagefolder", EVERYTHING),  # with a root, which it needs
    "data.root": ("somewhere", NOTHING),  # the digits need none
    "data.download": (False, NOTHING),
    "data.mirror": ("https://mirror.example", NOTHING),
    "data.subset": ("other", NOTHING),  # refused, but with huggingface
    "data.image_column": ("other", NOTHING),
    "data.label_column": ("other", NOTHING),
    "data.options": ({"other": 1}, NOTHING),  # of a function whose images count
    "data.image_size": (10, EVERYTHING),
    "data.val_fraction": (0.2, EVERYTHING),
    "data.test_fraction": (0.4, EVERYTHING),  # of a folder without test images
    "data.test_seed": (1, EVERYTHING),
    "data.split_seed": (1, EVERYTHING),
    "data.train_limit": (60, EVERYTHING),
    "data.mean": ([0.5, 0.5, 0.5], EVERYTHING),
    "data.std": ([0.2, 0.2, 0.2], EVERYTHING),
    "data.views.padding": (1, EVERYTHING),
    "data.views.flip": (False, EVERYTHING),
    "data.views.erase": (0.5, EVERYTHING),
    "data.views.mixup": (0.5, EVERYTHING),
    "pair.teacher.name": ("resnet32", TAUGHT),
    "pair.teacher.width": (0.5, TAUGHT),
    "pair.teacher.weights": ("DEFAULT", TAUGHT),
    "pair.teacher.kwargs": ({"depth": 3}, TAUGHT),
    "pair.student.name": ("resnet8x4", BASELINE),
    "pair.student.width": (0.5, BASELINE),
    "pair.student.weights": ("DEFAULT", BASELINE),
    "pair.student.kwargs": ({"depth": 3}, BASELINE),
    "distill.temperature": (2.0, NOTHING),
    "distill.alpha": (0.5, NOTHING),
    "distill.losses": ({"dkd": {"weight": 1.0}}, NOTHING),
    "distill.schedules": ({"alpha": {"name": "linear"}}, NOTHING),
    "distill.learned_temperature": (True, NOTHING),
    "distill.inversion": (InversionConfig(), NOTHING),
    "distill.generator": (GeneratorConfig(), NOTHING),
    "train.epochs": (8, NETWORKS),
    "train.batch_size": (16, NETWORKS),
    "train.optimizer.name": ("sgd", NETWORKS),
    "train.optimizer.lr": (2e-3, NETWORKS),
    "train.optimizer.weight_decay": (1e-3, NETWORKS),
    "train.optimizer.momentum": (0.8, NETWORKS),
    "train.optimizer.nesterov": (True, NETWORKS),
    "train.optimizer.beta1": (0.8, NETWORKS),
    "train.optimizer.beta2": (0.99, NETWORKS),
    "train.optimizer.eps": (1e-7, NETWORKS),
    "train.clip_norm": (1.0, NETWORKS),
    "train.device": ("auto", NOTHING),  # what it settles on counts: see below
    "train.precision": ("float64", EVERYTHING),
    "train.channels_last": (False, NOTHING),
    "train.threads": (2, NOTHING),
    "train.fuse": ("grouped", NOTHING),
    "train.bank": (False, NOTHING),
    "train.checkpoint_every": (5, NOTHING),
    "schedule.name": ("cosine", NETWORKS),
    "schedule.step_size": (3, NETWORKS),
    "schedule.gamma": (0.1, NETWORKS),
    "schedule.milestones": ([2.0], NETWORKS),
    "schedule.warmup_epochs": (1.0, NETWORKS),
    "schedule.final_factor": (0.1, NETWORKS),
    "schedule.peak_fraction": (0.5, NETWORKS),
    "schedule.initial_factor": (0.1, NETWORKS),
    "teacher.checkpoint": ("given.safetensors", TAUGHT),
    "teacher.seed": (1, TAUGHT),
    "teacher.epochs": (5, TAUGHT),
    "teacher.lr": (5e-3, TAUGHT),
    "teacher.weight_decay": (5e-3, TAUGHT),
    "teacher.checkpoint_epoch": (3, TAUGHT),
    "teacher.ensemble": (2, NOTHING),  # of teachers that each have a key of their own
    "teacher.combine": ("losses", NOTHING),
    "teacher.assistants": (["resnet32"], ASSISTANT),
    "teacher.generations": (2, TAUGHT),
    "teacher.assistant_temperature": (2.0, ASSISTANT),
    "teacher.assistant_alpha": (0.5, ASSISTANT),
    "evaluate.protocol": ("published", EVERYTHING),  # with a val_fraction of 0, which it needs
    "evaluate.test": (True, NOTHING),
    "evaluate.latency": (True, NOTHING),
    "evaluate.last_epochs": (2, NOTHING),  # of a curve that is stored whole
    "evaluate.ema": (0.98, BASELINE),  # a teacher's weights are not averaged
    "evaluate.batch_size": (10, NOTHING),
    "tracking.backend": ("none", NOTHING),
    "tracking.uri": ("http://127.0.0.1:5000", NOTHING),
    "tracking.experiment": ("other", NOTHING),
    "tracking.patience": (77, NOTHING),
    "engine.name": ("slurm", NOTHING),
    "engine.cpus": (2, NOTHING),
    "engine.gpus": (1.0, NOTHING),
    "engine.memory": (2.0, NOTHING),
    "engine.retries": (1, NOTHING),
    "engine.address": ("auto", NOTHING),
    "engine.runtime_env": ({"env_vars": {}}, NOTHING),
    "engine.jobs": (2, NOTHING),
    "engine.partition": ("other", NOTHING),
    "engine.gres": ("gpu:1", NOTHING),
    "engine.time": (5, NOTHING),
    "engine.signal_delay": (5, NOTHING),
    "engine.setup": (["module load cuda"], NOTHING),
    "engine.sbatch": ({"account": "me"}, NOTHING),
    "pruner.name": ("median", NOTHING),
    "pruner.startup_trials": (1, NOTHING),
    "pruner.warmup_epochs": (1, NOTHING),
    "pruner.min_epochs": (2, NOTHING),
    "pruner.reduction_factor": (2, NOTHING),
    "pruner.p_threshold": (0.2, NOTHING),
    "verdict.baseline_seeds": (3, NOTHING),
    "verdict.first_baseline_seed": (1234, NOTHING),
    "verdict.margin": (1.0, NOTHING),
    "verdict.futility": (2.0, NOTHING),
    "verdict.top": (2, NOTHING),
    "plugins": ({"mine.py": "12ab"}, NOTHING),  # what they add is known by their source: see below
    "objective": ("nll", NOTHING),
    "storage": ("sqlite:///other.db", NOTHING),
    "seed": (1, NOTHING),  # a baseline's own is given beside the configuration
    "seeds": (2, NOTHING),
    "rounds": (2, NOTHING),
    "root": ("other", NOTHING),
    "study": ("other", NOTHING),
    "trial": (1, NOTHING),
    "round": (2, NOTHING),
}
# What some values can't do without.
ALSO: dict[str, dict[str, object]] = {
    "data.name": {"data.root": "images"},
    "data.source": {"data.name": "of these tests"},
    "evaluate.protocol": {"data.val_fraction": 0.0},
    "teacher.ensemble": {"teacher.assistants": []},
    "teacher.generations": {"teacher.assistants": []},
}
# What is there before, where it is not the base: one part that is split; a chain of one network,
# whose assistant is the teacher itself.
_SPLIT = {"data.name": "imagefolder", "data.root": "images/train", "data.train_limit": 40}
BEFORE: dict[str, dict[str, object]] = {
    "data.test_fraction": _SPLIT,
    "data.test_seed": _SPLIT,
    "teacher.ensemble": {"teacher.assistants": []},
}


@pytest.fixture(scope="module", autouse=True)
def _a_dataset() -> None:
    register_dataset("of these tests")(_registered)


def _registered(
    root: Path | None, split: str, **options: object
) -> list[tuple[NDArray[np.uint8], int]] | None:
    if split != "train":
        return None
    return [(np.full((8, 8), 20 * (i % 10), dtype=np.uint8), i % 10) for i in range(100)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, and images that some configurations ask for."""
    root = tmp_path_factory.mktemp("keys")
    (root / "given.safetensors").write_bytes(b"a checkpoint")
    for part in ("train", "test"):
        for label in range(10):
            folder = root / "images" / part / str(label)
            folder.mkdir(parents=True)
            for i in range(8):
                pixels = np.full((8, 8, 3), 20 * label + i, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(autouse=True)
def _on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def base(root: Path) -> Config:
    return Config(
        data=DataConfig(image_size=8, train_limit=64),
        pair=PairConfig(
            teacher=ModelConfig(name="cifar_teacher"), student=ModelConfig(name="resnet8")
        ),
        train=TrainConfig(epochs=7, batch_size=32, threads=1, device="cpu", precision="float32"),
        teacher=TeacherConfig(assistants=["resnet20"]),
        root=str(root),
    )


def changed(config: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with other fields; nothing is checked but what has to do with keys."""
    made = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, name = path.split(".")
        owner: Any = made
        for parent in parents:
            owner = getattr(owner, parent)
        assert hasattr(owner, name)
        setattr(owner, name, value)
    made.teacher.assistants = TeacherConfig(assistants=made.teacher.assistants).assistants
    return made


def fields(config: object, prefix: str = "") -> Iterator[str]:
    """The dotted name of every field."""
    assert dataclasses.is_dataclass(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


_datasets = Datasets(limit=100)


def names(
    config: Config, root: Path, hardware: Hardware | None = None, seed: int = 0
) -> dict[str, str]:
    """What the networks and the bank of a configuration are found by."""
    hardware = hardware or choose_hardware(config.train)
    dataset = _datasets.load(changed(config, {"root": str(root)}), hardware)
    return {
        "t": chain.chains(config, dataset, hardware)[0][0].key,
        "a": chain.chains(config, dataset, hardware)[0][-1].key,
        "b": keys.baseline_key(config, dataset, hardware, seed),
        "l": keys.bank_name("teacher's", "weights", dataset, hardware, "float16"),
    }


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    return "".join(kind for kind in one if one[kind] != other[kind])


def test_the_table_lists_every_field() -> None:
    assert set(TABLE) == set(fields(Config()))


@pytest.mark.parametrize("field", TABLE)
def test_what_a_field_changes(root: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.chdir(root)
    value, expected = TABLE[field]
    before = changed(base(root), BEFORE.get(field, {}))
    after = changed(before, {field: value, **ALSO.get(field, {})})
    assert after != before, "the value in the table is the default"
    assert differing(names(before, root), names(after, root)) == expected


def test_keys_don_t_depend_on_the_process(root: Path) -> None:
    assert names(base(root), root) == names(copy.deepcopy(base(root)), root)


@pytest.mark.parametrize("change", [{"device": torch.device("cuda")}, {"bf16": True}])
def test_what_the_hardware_changes(root: Path, change: dict[str, Any]) -> None:
    plain = choose_hardware(base(root).train)
    dataset = _datasets.load(base(root), plain)

    def made(hardware: Hardware) -> list[str]:
        return [
            keys.teacher_key(base(root), dataset, hardware),
            chain.chains(base(root), dataset, hardware)[0][-1].key,
            keys.baseline_key(base(root), dataset, hardware, 0),
            keys.bank_name("t", "w", dataset, hardware, "float16"),
        ]

    for one, other in zip(made(plain), made(dataclasses.replace(plain, **change)), strict=True):
        assert one != other


def test_a_seed_of_its_own(root: Path) -> None:
    assert differing(names(base(root), root, seed=0), names(base(root), root, seed=1)) == "b"


def test_the_version_of_the_code(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(base(root), root)
    given = changed(base(root), {"teacher.checkpoint": str(root / "given.safetensors")})
    checkpoint = names(given, root)["t"]
    monkeypatch.setattr(keys, "RECIPE_VERSION", keys.RECIPE_VERSION + 1)
    assert differing(before, names(base(root), root)) == EVERYTHING
    assert names(given, root)["t"] != checkpoint


def test_what_a_bank_is_of(root: Path) -> None:
    hardware = choose_hardware(base(root).train)
    dataset = _datasets.load(base(root), hardware)
    dreamt = dataclasses.replace(dataset, digest="of other images")

    def name(
        key: str = "k", weights: str = "w", images: DeviceDataset = dataset, dtype: str = "float16"
    ) -> str:
        return keys.bank_name(key, weights, images, hardware, dtype)

    others = [name(), name(key="x"), name(weights="x"), name(images=dreamt), name(dtype="float32")]
    assert len(set(others)) == len(others)
    assert name(dtype="float32").endswith("-float32")


MODELS = {
    "pair.teacher": TAUGHT,
    "pair.student": BASELINE,
    "teacher.assistants": ASSISTANT,
}


def with_weights(root: Path, model: str, file: Path) -> Config:
    if model == "teacher.assistants":
        given = ModelConfig(name="resnet20", weights=str(file))
        return changed(base(root), {"teacher.assistants": [given]})
    return changed(base(root), {f"{model}.weights": str(file)})


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_known_by_their_content(root: Path, tmp_path: Path, model: str) -> None:
    file, moved = tmp_path / "w.safetensors", tmp_path / "folder" / "other.safetensors"
    file.write_bytes(b"one")
    first = names(with_weights(root, model, file), root)
    assert differing(names(base(root), root), first) == MODELS[model]
    moved.parent.mkdir()
    shutil.copy(file, moved)
    assert names(with_weights(root, model, moved), root) == first
    file.write_bytes(b"two")
    assert differing(first, names(with_weights(root, model, file), root)) == MODELS[model]


@pytest.mark.parametrize("model", ["pair.teacher", "pair.student"])
def test_a_plugins_model_is_known_by_its_source(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    sources = {("model", "mine"): "12ab"}
    monkeypatch.setattr(keys, "source_of", lambda *entry: sources.get(entry))
    mine = changed(base(root), {f"{model}.name": "mine"})
    first = names(mine, root)
    sources["model", "mine"] = "34cd"
    assert differing(first, names(mine, root)) == MODELS[model]


def test_a_checkpoint_is_known_by_its_content(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, moved = tmp_path / "c.safetensors", tmp_path / "d.safetensors"
    file.write_bytes(b"one")
    given = changed(base(root), {"teacher.checkpoint": str(file)})
    first = names(given, root)
    shutil.copy(file, moved)
    assert names(changed(given, {"teacher.checkpoint": str(moved)}), root) == first
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(changed(given, {"teacher.checkpoint": "~/d.safetensors"}), root) == first
    file.write_bytes(b"two")
    assert differing(first, names(given, root)) == TAUGHT
    for field in ("data.mean", "data.split_seed", "train.precision", "evaluate.protocol"):
        other = changed(given, {field: TABLE[field][0], **ALSO.get(field, {})})
        assert "t" in differing(names(given, root), names(other, root)), field


def test_a_checkpoint_that_is_not_there_is_told(root: Path) -> None:
    with pytest.raises(UserError, match=r"^teacher.checkpoint=nowhere: no such file; give a"):
        names(changed(base(root), {"teacher.checkpoint": "nowhere"}), root)


def test_a_file_is_read_once_while_it_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = tmp_path / "w", list[Path]()
    hashed = keys.file_hash

    def watched(path: Path) -> str:
        read.append(path)
        return hashed(path)

    monkeypatch.setattr(keys, "file_hash", watched)
    file.write_bytes(b"one")
    assert keys.content_hash(file) == keys.content_hash(file) == hashed(file)
    assert len(read) == 1
    file.write_bytes(b"three")
    assert keys.content_hash(file) == hashed(file)
