"""A dataset of your own: images in one folder, and labels.csv with file, class and split of each.

python -m kdsweep plugins=[docs/examples/labelled.py] data=registered data.name=labelled \
    data.root=FOLDER data.options.skip=[blurred]
"""

import csv

from PIL import Image
from torch.utils.data import Dataset

import kdsweep


class Labelled(Dataset):
    """The images of one split; ``classes`` names the labels."""

    def __init__(self, root, rows, classes):
        self.root, self.rows, self.classes = root, rows, classes

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return Image.open(self.root / row["file"]), self.classes.index(row["class"])


@kdsweep.register_dataset("labelled")
def labelled(root, split, skip=()):
    """The rows of a split, "train", "val" or "test"; None where there is no such split."""
    table = (root / "labels.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(table) if row["class"] not in skip]
    classes = sorted({row["class"] for row in rows})
    rows = [row for row in rows if row["split"] == split]
    return Labelled(root, rows, classes) if rows else None
