"""Small networks, inputs and options that the tests of the losses share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.losses import Outputs
from kdsweep.losses.adapters import adapted
from kdsweep.losses.base import Loss
from kdsweep.losses.registry import create_loss

CLASSES = 4
IMAGES = 12  # of the training set


class Toy(nn.Module):
    """Three stages of maps and a linear classifier, by the names that a registered model has."""

    stages = ("first", "second", "third")
    classifier = "head"

    def __init__(self, width: int = 3, classes: int = CLASSES) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.third = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.third(self.second(self.first(images)))
        logits: Tensor = self.head(maps.mean((2, 3)))
        return logits


STUDENT, TEACHER = Toy(3), Toy(4)
SHAPES = {
    "student": {"first": (3, 8, 8), "second": (6, 4, 4), "third": (12, 2, 2), "head:input": (12,)},
    "teacher": {
        "first": (4, 8, 8),
        "second": (8, 4, 4),
        "third": (16, 2, 2),
        "head:input": (16,),
    },
}
LOSSES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hinton", {}),
    ("hinton", {"t2": False}),
    ("logit_mse", {}),
    ("logit_mae", {}),
    ("dkd", {}),
    ("dist", {}),
    ("nkd", {}),
    ("hinton", {"standardize": True}),
    ("hinton", {"standardize": True, "t2": False}),
    ("logit_mse", {"standardize": True}),
    ("dkd", {"standardize": True}),
    ("dist", {"standardize": True}),
    ("nkd", {"standardize": True}),
    ("label_smoothing", {}),
    ("teacher_free", {}),
    ("fitnet", {}),
    ("fitnet", {"student_taps": "head:input", "teacher_taps": "head:input"}),
    ("multi_level", {}),
    ("attention", {}),
    ("sp", {}),
    ("sp", {"student_taps": ["first", "second"], "teacher_taps": ["first", "second"]}),
    ("pkt", {}),
    ("nst", {}),
    ("cc", {"dimensions": 5}),
    ("vid", {}),
    ("reviewkd", {}),
    ("rkd", {}),
    ("infonce", {"dimensions": 5}),
    ("crd", {"dimensions": 5, "negatives": 6}),
    ("adversarial", {"hidden": 5}),
    ("adversarial", {"hidden": 5, "sees": "features"}),
)
IDS = [name + "".join(f"-{option}" for option in options) for name, options in LOSSES]


def make(name: str, options: Mapping[str, Any]) -> Loss:
    """A loss between the two small networks."""
    return create_loss(name, options, student=STUDENT, teacher=TEACHER)


class Case:
    """A loss with random inputs for N members, its adapters, state and hyperparameters.

    ``tensors`` holds the student's logits and adapted features, which a gradient is taken of.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        *,
        members: int = 3,
        batch: int = 5,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
    ) -> None:
        g = torch.Generator().manual_seed(seed)
        self.loss = make(name, options)
        lead = (members, batch)
        self.labels = torch.randint(0, CLASSES, lead, generator=g)
        self.tensors, self.teacher = {}, {}
        self.tensors["logits"] = 2 * torch.randn(*lead, CLASSES, generator=g, dtype=dtype)
        self.teacher["logits"] = 3 * torch.randn(*lead, CLASSES, generator=g, dtype=dtype)
        adapted = adapted_shapes(self.loss)
        for tap in self.loss.student_taps:
            shape = adapted["student"][tap]
            self.tensors[tap] = torch.randn(*lead, *shape, generator=g, dtype=dtype)
        for tap in self.loss.teacher_taps:
            shape = adapted["teacher"][tap]
            self.teacher[tap] = torch.randn(*lead, *shape, generator=g, dtype=dtype)
        self.h = {"temperature": 1 + 3 * torch.rand(members, generator=g, dtype=torch.float64)}
        for option, value in self.loss.values.items():
            spread = 0.5 + 0.5 * torch.rand(members, generator=g, dtype=torch.float64)
            self.h[option] = value * spread
        self.index = torch.stack(
            [torch.randperm(IMAGES, generator=g)[:batch] for _ in range(members)]
        )
        image_labels = torch.arange(IMAGES) % CLASSES
        self.state = self.loss.create_state(
            image_labels, torch.arange(members) + 7, dtype=torch.float64
        )
        if self.state is not None:
            self.labels = image_labels[self.index]

    def value(
        self,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        teacher: Mapping[str, Tensor] | None = None,
        h: Mapping[str, Tensor] | None = None,
        state: nn.Module | None = None,
        epoch: float = 3.0,
    ) -> Tensor:
        """The loss [N], with some of the inputs replaced."""
        return self.loss(
            _outputs({**self.tensors, **(tensors or {})}),
            _outputs({**self.teacher, **(teacher or {})}),
            self.labels,
            {**self.h, **(h or {})},
            epoch=epoch,
            index=self.index,
            state=self.state if state is None else state,
        )


def adapted_shapes(loss: Loss) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of one image's features behind the adapters, found by running these."""
    adapters = loss.adapters(SHAPES["student"], SHAPES["teacher"]).eval()
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for side, taps in (("student", loss.student_taps), ("teacher", loss.teacher_taps)):
        shapes[side] = {}
        features = {tap: torch.zeros(1, *SHAPES[side][tap]) for tap in taps}
        for tap, feature in adapted(adapters, side, taps, features).items():
            shapes[side][tap] = tuple(feature.shape[1:])
    return shapes


def _outputs(tensors: Mapping[str, Tensor]) -> Outputs:
    features = {tap: value for tap, value in tensors.items() if tap != "logits"}
    return Outputs(logits=tensors["logits"], features=features)


def f64(*values: Any) -> Tensor:
    """A float64 tensor of nested lists."""
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)
