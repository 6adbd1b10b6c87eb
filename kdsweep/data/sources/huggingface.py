"""Datasets of the Hugging Face library, from its hub, its cache or a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.config import DataConfig
from kdsweep.data.sources.base import (
    Found,
    Part,
    PartName,
    Parts,
    content_of,
    folder_of,
    image_hash,
)
from kdsweep.data.sources.labels import as_labels
from kdsweep.errors import UserError, first_line
from kdsweep.registry import did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

_PARTS: dict[str, PartName] = {
    "train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"
}  # fmt: skip


class _Encoded:
    """A column of images as they are stored: the bytes of a file, or its path."""

    def __init__(self, dataset: Dataset, column: str) -> None:
        from datasets import Image

        images = dataset.select_columns([column])
        self.rows = images.cast_column(column, Image(decode=False))
        self.column = column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> bytes | Path:
        row = self.rows[index][self.column]
        if row is None:
            raise ValueError("is missing")
        return Path(row["path"]) if row["bytes"] is None else bytes(row["bytes"])


def find_huggingface(config: DataConfig, cache: Path) -> Found:
    """The dataset ``data.name``: a name of the hub, or a folder on this machine.

    A folder is what ``save_to_disk`` wrote, or anything that ``load_dataset`` takes. The library
    keeps its own cache, in ``data.root`` where that is set. ``data.image_column`` and
    ``data.label_column`` are found by their type where they are null. All encoded images are
    hashed by every process.

    Raises:
        UserError: the library isn't installed, can't open the dataset, or it has no image or
            label column.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"data=huggingface: needs the datasets library; pip install 'kdsweep[huggingface]' "
            f"({error})"
        ) from error
    datasets.disable_progress_bars()
    splits = _splits(config)
    image = _column(config, splits["train"], "image_column", datasets.Image, "an image")
    label = _column(config, splits["train"], "label_column", datasets.ClassLabel, "a class label")
    names = getattr(splits["train"].features[label], "names", None)
    parts: dict[PartName, Part] = {}
    for part, dataset in splits.items():
        for column in (image, label):
            if column not in dataset.column_names:
                raise UserError(f"{config.given}: {part} has no column {column}, which train has")
        if names != getattr(dataset.features[label], "names", None):
            raise UserError(f"{config.given}: {part} has other classes than train")
        labels = as_labels(dataset[label][:], f"{config.given}: column {label} of {part}")
        if part != "train" and len(labels) and (labels == -1).all():
            log.warning("%s: the %s images have no labels and are not used", config.given, part)
            continue
        parts[part] = Part(images=_Encoded(dataset, image), labels=labels)
    made = Parts(config=config, parts=parts, names=names)
    try:
        content = content_of(made, {part: _hashes(one) for part, one in parts.items()})
    except (OSError, ValueError) as error:
        raise UserError(f"{config.given}: an image {error}; mend or remove it") from error
    return Found(folder=folder_of(config, content), read=made.pictures)


def _hashes(part: Part) -> Iterator[bytes]:
    for i in range(len(part.labels)):
        yield image_hash(part.images[i])


def _splits(config: DataConfig) -> dict[PartName, Dataset]:
    """The parts, by the library's names of splits; others are of no use."""
    import datasets

    try:
        if (Path(config.name) / "dataset_dict.json").is_file() or (
            Path(config.name) / "state.json"
        ).is_file():
            opened = datasets.load_from_disk(config.name)
        else:
            opened = datasets.load_dataset(config.name, config.subset, cache_dir=config.root)
    except Exception as error:  # of the library's, its network's and its file formats' many kinds
        line = first_line(error)
        raise UserError(
            f"{config.given}: the datasets library can't open it ({type(error).__name__}: {line})"
        ) from error
    if isinstance(opened, datasets.Dataset):
        return {"train": opened}
    found: dict[PartName, Dataset] = {}
    for name, dataset in opened.items():
        part = _PARTS.get(str(name))
        if part is None:
            log.info("%s: its split %s is not used", config.given, name)
        elif part in found:
            raise UserError(f"{config.given}: has two splits for {part}; leave one")
        else:
            found[part] = dataset
    if "train" not in found:
        raise UserError(
            f"{config.given}: has the splits {', '.join(map(str, opened))}; allowed are train, "
            "validation and test, train among them"
        )
    return found


def _column(config: DataConfig, train: Dataset, key: str, kind: type[Any], what: str) -> str:
    """The column that is named, or the only one of a kind."""
    columns: Sequence[str] = train.column_names
    of_kind = [name for name in columns if isinstance(train.features[name], kind)]
    given = getattr(config, key)
    if given is not None:
        if given not in columns or (key == "image_column" and given not in of_kind):
            allowed = columns if key == "label_column" else of_kind
            raise UserError(
                f"data.{key}={given}: allowed is one of {', '.join(allowed) or '(none)'}"
                f"{did_you_mean(given, allowed)}"
            )
        return str(given)
    if len(of_kind) != 1:
        raise UserError(
            f"data.{key}=None: allowed is one of {', '.join(of_kind or columns)}, since "
            f"{len(of_kind) or 'no'} columns of {config.name} are {what}"
        )
    return of_kind[0]
