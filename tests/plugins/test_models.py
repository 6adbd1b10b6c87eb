"""Models of a user's own: how they are built, what is found in them, and the check of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kdsweep
from kdsweep.config import Config, ModelConfig, PairConfig
from kdsweep.errors import UserError
from kdsweep.models import ImageClassifier, create_model
from kdsweep.models.user_models import check_network

pytestmark = pytest.mark.usefixtures("folder")


class Plain(nn.Module):
    def __init__(self, num_classes: int, depth: int = 2, *, wide: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(depth))
        self.norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8, 6)
        self.out = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.stem(images))
        for layer in self.body:
            maps = F.relu(layer(maps))
        return self.out(self.hidden(self.norm(maps).mean((2, 3))).relu())


def make(build: Any, *, kwargs: dict[str, Any] | None = None, **named: Any) -> ImageClassifier:
    """The model that a configuration gets of what a plugin registers."""
    kdsweep.register_model("mine", **named)(build)
    config = ModelConfig(name="mine", kwargs=kwargs or {})
    return create_model(config, classes=5, image_size=16)


def test_what_is_found_in_it() -> None:
    model = make(Plain)
    assert model.classifier == "net.out"
    assert model.stages == ("net.stem", "net.body.0", "net.norm")
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert len(make(Plain, kwargs={"depth": 1}).unwrapped.body) == 1


def test_what_is_named_in_it() -> None:
    model = make(Plain, classifier="hidden", stages=("stem", "body.1"))
    assert (model.classifier, model.stages) == ("net.hidden", ("net.stem", "net.body.1"))
    for named, line in (
        ({"classifier": "ouut"}, r"classifier=ouut: allowed is one of .*; did you mean out\?$"),
        ({"classifier": "stem"}, r"classifier=stem: allowed is one of hidden, out"),
        ({"stages": ("stem", "bdy.1")}, r"stages=bdy\.1: allowed is .*; did you mean body\.1\?$"),
        ({"stages": ("out",)}, r"stages=out: allowed is one of stem, body\.0, body\.1, norm"),
    ):
        with pytest.raises(UserError, match=rf"^pair\.student\.name=mine: {line}"):
            make(Plain, **named)


def test_what_its_signature_names_is_given() -> None:
    seen: dict[str, Any] = {}

    def build(classes: int, image_size: int, width: float, **more: Any) -> nn.Module:
        seen.update(classes=classes, image_size=image_size, width=width, **more)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, classes))

    kdsweep.register_model("mine")(build)
    config = ModelConfig(name="mine", width=0.5, kwargs={"any": 1})
    model = create_model(config, classes=5, image_size=16)
    assert seen == {"classes": 5, "image_size": 16, "width": 0.5, "any": 1}
    assert model.stages == ()


def test_a_classifier_of_our_kind_stays_as_it_is() -> None:
    inner = ModelConfig(name="resnet8")
    model = make(lambda classes: create_model(inner, classes=classes, image_size=16))
    assert model.stages == ("layer1", "layer2", "layer3")


class Strange(Plain):
    def __init__(self, num_classes: int, gives: str) -> None:
        super().__init__(num_classes)
        self.gives = gives

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        if self.gives == "nothing":
            return None
        if self.gives == "more":
            return torch.cat((logits, logits), 1)
        return images.reshape(7, 7)


@pytest.mark.parametrize(
    ("build", "kwargs", "line"),
    [
        (Plain, {"dept": 3}, r"kwargs\.dept=3: allowed arguments of mine are depth, wide; did yo"),
        (
            Plain,
            {"depth": "x"},
            r"name=mine: can't be built with pair\.student\.kwargs depth=x: T",
        ),
        (Plain, {"num_classes": 3}, r"kwargs\.num_classes=3: allowed arguments of mine are depth"),
        (Strange, {}, r"kwargs\.gives: mine needs a value for it"),
        (Strange, {"gives": "nothing"}, r"name=mine: .* it gives NoneType; allowed are logits"),
        (
            Strange,
            {"gives": "more"},
            r"name=mine: .* it gives \[2, 10\]; allowed are logits \[2, 5",
        ),
        (
            Strange,
            {"gives": "error"},
            r"name=mine: of images \[2, 3, 16, 16\] its forward pass rai",
        ),
        (lambda classes: 3, {}, r"name=mine: builds a int; allowed is an nn\.Module"),
        (
            lambda classes: nn.Sequential(
                nn.Conv2d(3, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            ),
            {},
            r"name=mine: does not end in a linear layer",
        ),
    ],
)
def test_what_is_no_model(build: Any, kwargs: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=rf"^pair\.student\.{line}") as error:
        make(build, kwargs=kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("build", [3, nn.Linear(3, 3), "Plain"])
def test_what_can_not_be_registered(build: object) -> None:
    with pytest.raises(UserError, match=r"^model mine: is a .*; allowed is a class or a function"):
        make(build)


def test_only_plugins_models_have_arguments() -> None:
    for name in ("resnet8", "torchvision/resnet18"):
        with pytest.raises(UserError, match=r"^pair\.student\.kwargs=\{'depth': 3\}: allowed is"):
            create_model(ModelConfig(name=name, kwargs={"depth": 3}), classes=5, image_size=16)


def test_a_line_says_what_the_check_found() -> None:
    assert kdsweep.check_model(Plain, classes=5, image_size=16, depth=1) == (
        "Plain: 913 parameters; classifier out; stages stem, norm; members train as one network"
    )
    kdsweep.register_model("mine")(Plain)
    assert kdsweep.check_model("mine").startswith("mine: 1,5")
    with pytest.raises(UserError, match=r"kwargs\.dept=1: allowed arguments of mine are depth"):
        kdsweep.check_model("mine", dept=1)


class Attends(Plain):
    """Softmax over channels, which would be over those of all members."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body[1](self.body[0](self.stem(images).softmax(1)))
        return self.out(self.hidden(self.norm(maps).mean((2, 3))))


def test_what_can_not_be_grouped_is_told() -> None:
    assert "members train one by one (" in kdsweep.check_model(Attends)


class Frozen(Plain):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.stem.weight.requires_grad_(False)


class Unused(Plain):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.spare = nn.Linear(3, 3)


class Mixes(Plain):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits + logits.mean(0)


class Numpy(Plain):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        drawn = np.random.default_rng().normal(size=6)
        self.hidden.bias = nn.Parameter(torch.tensor(drawn, dtype=torch.float32))


class Functional(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(super().forward(images), training=self.training)


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (Frozen, r"its parameter net\.stem\.weight is frozen, but every parameter is trained"),
        (Unused, r"its parameter net\.spare\.weight has no gradient"),
        (Mixes, r"an image's logits depend on the images beside it"),
        (Numpy, r"net\.hidden\.bias is another when it is built again with the same seed"),
        (Functional, r"draws random numbers by itself in training"),
    ],
)
def test_the_check_says_what_is_wrong(build: type[nn.Module], line: str) -> None:
    with pytest.raises(UserError, match=rf"^pair\.student\.name={build.__name__}: {line}"):
        kdsweep.check_model(build)


def test_the_check_leaves_a_model_as_it_is() -> None:
    model = make(Plain)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_network(model, image_size=16, given="it")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert model.training


def test_what_a_configuration_uses_by_name() -> None:
    config = Config(pair=PairConfig(student=ModelConfig(name="mine")))
    config.teacher.assistants = [ModelConfig(name="resnet20")]
    config.distill.losses = {"js": {}, "hinton": {}}
    assert [entry for entry in config.entries if entry[0] != "dataset"] == [
        ("model", "cifar_teacher"),
        ("model", "resnet20"),
        ("model", "mine"),
        ("loss", "js"),
        ("loss", "hinton"),
    ]
