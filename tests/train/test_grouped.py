from __future__ import annotations

import copy
import functools
import logging

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdsweep.config import ModelConfig, OptimizerConfig
from kdsweep.models import create_model, model_names
from kdsweep.models.registry import ARCHITECTURES
from kdsweep.train import grouped as grouped_module
from kdsweep.train.dropout import DropoutClock, MemberKeys, seed_dropout
from kdsweep.train.grouped import NotGroupableError, check, fold, group, say_once, unfold
from kdsweep.train.population import Member, Population
from kdsweep.train.student import Student
from tests.train.setting import CLASSES, SIZE, Net

N, B = 3, 4
# One network of each family; the others are the same blocks, more or wider ones.
FAMILIES = ("cifar_teacher", "cifar_student", "resnet8", "wrn_16_1", "vgg8", "mobilenetv2")
UNGROUPABLE = {"shufflenetv2": "group1.1.branch.0"}  # the layer behind the chunk

LAYERS = {
    "net": [Net()],
    "same": [
        nn.Conv2d(3, 4, (3, 1), padding="same", dilation=2),
        nn.Flatten(),
        nn.Linear(256, 3),
    ],
    "groups": [
        nn.Conv2d(3, 6, 3, groups=3, stride=2),
        nn.BatchNorm2d(6, affine=False),
        nn.Flatten(),
        nn.Linear(54, 3, bias=False),
    ],
    "options": [
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3, eps=0.1),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4, 3),
    ],
}


def student(model: nn.Module) -> tuple[Student, DropoutClock]:
    whole = Student(model, {}, nn.ModuleDict()).double()
    return whole, seed_dropout(whole)


def members_of(template: nn.Module) -> list[dict[str, Tensor]]:
    """Parameters and buffers of N members, all drawn; variances stay positive."""
    draw = torch.Generator().manual_seed(3)
    return [
        {
            name: value.clone()
            if not value.is_floating_point()
            else value.detach() + 0.1 * torch.rand(value.shape, generator=draw, dtype=value.dtype)
            for name, value in (*template.named_parameters(), *template.named_buffers())
        }
        for _ in range(N)
    ]


def run(
    network: nn.Module,
    state: dict[str, Tensor],
    images: Tensor,
    clock: DropoutClock,
    seeds: Tensor,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits, gradients of a sum of squares, and the state with its buffers after the step."""
    clock.start(MemberKeys(seeds), 5)
    state = {k: v.clone() for k, v in state.items()}
    leaves = {
        k: v.requires_grad_() for k, v in state.items() if k in dict(network.named_parameters())
    }
    logits, _, _ = functional_call(network, state, (images, {}))
    grads = torch.autograd.grad(logits.square().sum(), list(leaves.values()))
    return logits, dict(zip(leaves, grads, strict=True)), state


@pytest.mark.parametrize("name", [*FAMILIES, "resnet20", "wrn_16_2"])
def test_every_family_grouped_equals_each_alone(name: str) -> None:
    torch.manual_seed(0)
    width = 0.125 if ARCHITECTURES[name].has_width else 1.0
    model = create_model(ModelConfig(name=name, width=width), classes=CLASSES, image_size=SIZE)
    compare_grouped(model, (3, SIZE, SIZE), training=True)


def test_every_registered_network_is_of_a_family_that_is_tried() -> None:
    families = {family(name) for name in (*FAMILIES, *UNGROUPABLE)}
    assert {family(name) for name in model_names()} == families


def family(name: str) -> object:
    build = ARCHITECTURES[name].build
    return build.func if isinstance(build, functools.partial) else build


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
def test_every_option_of_the_layers(layers: list[nn.Module], training: bool) -> None:
    model = nn.Sequential(*copy.deepcopy(layers))
    compare_grouped(model, (3, SIZE, SIZE), training=training)


def compare_grouped(model: nn.Module, image: tuple[int, ...], *, training: bool) -> None:
    template, clock = student(model)
    grouped = group(template)
    template.train(training)
    grouped.train(training)
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(N, B, *image, generator=draw, dtype=torch.float64)
    seeds = torch.tensor([11, 12, 11])
    members = members_of(template)
    stacked = {name: torch.stack([m[name] for m in members]) for name in members[0]}
    logits, grads, after = run(grouped, stacked, fold(images), clock, seeds)
    logits = unfold(logits, N)
    for i, member in enumerate(members):
        own, own_grads, own_after = run(template, member, images[i], clock, seeds[i : i + 1])
        torch.testing.assert_close(logits[i], own, rtol=1e-10, atol=1e-10)
        assert grads.keys() == own_grads.keys()
        largest = max(float(g.abs().max()) for g in own_grads.values())
        for name, gradient in own_grads.items():
            torch.testing.assert_close(
                grads[name][i], gradient, rtol=1e-10, atol=1e-10 * largest, msg=name
            )
        for name, _ in template.named_buffers():
            moved = not torch.equal(own_after[name], member[name])
            assert moved == training, name
            torch.testing.assert_close(after[name][i], own_after[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["cifar_student", "resnet8", "wrn_16_1", "vgg8"])
def test_the_check_lets_groupable_networks_pass(name: str) -> None:
    template, _ = student(create_model(ModelConfig(name=name), classes=3, image_size=16))
    check(template, group(template), (3, 16, 16))


class Mixing(nn.Module):
    """Does something in the middle that is not the same for all channels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.softmax = nn.Softmax(dim=1)
        self.norm = nn.GroupNorm(2, 4, affine=False)
        self.split = nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(4, 3)
        self.how = how

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if self.how == "softmax":
            maps = self.softmax(maps)
        elif self.how == "norm":
            maps = self.norm(maps)
        elif self.how == "sum":
            maps = maps * maps.mean(1, keepdim=True)
        elif self.how == "chunk":
            first, second = maps.chunk(2, dim=1)
            maps = self.split(first) + self.split(second)
        elif self.how == "channel":
            maps = maps[:, :4]
        elif self.how == "random":
            maps = maps * torch.rand(len(maps), 1, 1, 1, dtype=maps.dtype)
        vectors = maps.mean((2, 3))
        if self.how == "tokens":
            return self.head(maps.flatten(2).transpose(1, 2)).mean(1)
        return self.head(vectors)


@pytest.mark.parametrize(
    ("how", "layer"),
    [
        ("softmax", "softmax"),
        ("norm", "norm"),
        ("sum", "head"),
        ("chunk", "split"),
        ("channel", "."),
        ("random", "head"),
        ("tokens", "."),
    ],
)
def test_the_check_finds_what_mixes_channels(how: str, layer: str) -> None:
    template, _ = student(Mixing(how))
    with pytest.raises(NotGroupableError) as caught:
        check(template, group(template), (3, SIZE, SIZE))
    assert "\n" not in str(caught.value)
    if layer == ".":
        assert "side by side" in str(caught.value)
    else:
        assert str(caught.value) == f"channels are mixed in {layer} or in front of it"


def test_the_check_passes_what_the_mixing_networks_share() -> None:
    template, _ = student(Mixing("not at all"))
    check(template, group(template), (3, SIZE, SIZE))


def test_the_check_is_not_misled_by_equal_members() -> None:
    """Networks that start at zero everywhere, as residual branches do, are perturbed first."""
    model = Mixing("softmax")
    for p in model.parameters():
        nn.init.zeros_(p)
    template, _ = student(model)
    with pytest.raises(NotGroupableError):
        check(template, group(template), (3, SIZE, SIZE))


def test_the_check_leaves_the_template_alone() -> None:
    template, _ = student(Net())
    template.eval()
    before = copy.deepcopy(template.state_dict())
    check(template, group(template), (3, SIZE, SIZE))
    for name, value in template.state_dict().items():
        assert torch.equal(value, before[name])
    assert not template.training


@pytest.mark.parametrize("name", list(UNGROUPABLE))
def test_registered_networks_that_cannot_be_grouped(name: str) -> None:
    template, _ = student(create_model(ModelConfig(name=name), classes=3, image_size=16))
    with pytest.raises(NotGroupableError, match=UNGROUPABLE[name]):
        check(template, group(template), (3, 16, 16))


class Scaled(nn.Module):
    """A parameter of its own beside its layers, as vision transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(3, 3)


class SubConv(nn.Conv2d):
    """A convolution that may do anything."""


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Sequential(nn.LayerNorm(3)), "LayerNorm"),
        (nn.BatchNorm1d(3), "BatchNorm1d"),
        (Scaled(), "Scaled"),
        (SubConv(3, 3, 1), "SubConv"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.BatchNorm2d(3, momentum=None), "running averages"),
        (nn.BatchNorm2d(3, track_running_stats=False), "running averages"),
    ],
)
def test_layers_without_a_grouped_form(layer: nn.Module, reason: str) -> None:
    with pytest.raises(NotGroupableError, match=reason):
        group(nn.Sequential(layer))


def test_a_population_falls_back_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    say_once.cache_clear()
    caplog.set_level(logging.INFO)

    def population() -> Population:
        return Population(
            [Member(name=f"{i}", seed=i) for i in range(4)],
            lambda: Student(Mixing("softmax"), {}, nn.ModuleDict()),
            optimizer=OptimizerConfig(),
            device=torch.device("cpu"),
        )

    first = population()
    for chunks in (first.chunks(4, (3, SIZE, SIZE)), population().chunks(2, (3, SIZE, SIZE))):
        assert [chunk.part for chunk in chunks] == [slice(i, i + 1) for i in range(4)]
        assert not any(chunk.grouped for chunk in chunks)
    first.keep([0, 2, 3])
    assert len(first.chunks(3, (3, SIZE, SIZE))) == 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "Mixing can't run several members as one network, so they run one after another: "
        "channels are mixed in softmax or in front of it"
    )


def test_a_groupable_population_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(grouped_module, "check", lambda *given: calls.append(given))
    whole = Population(
        [Member(name=f"{i}", seed=i) for i in range(5)],
        lambda: Student(Net(), {}, nn.ModuleDict()),
        optimizer=OptimizerConfig(),
        device=torch.device("cpu"),
    )
    assert len(whole.chunks(1, (3, SIZE, SIZE))) == 5
    assert not calls
    chunks = whole.chunks(2, (3, SIZE, SIZE))
    assert [(c.part.start, c.part.stop, c.grouped) for c in chunks] == [
        (0, 2, True), (2, 4, True), (4, 5, False),
    ]  # fmt: skip
    whole.keep([1, 2])
    assert [chunk.grouped for chunk in whole.chunks(2, (3, SIZE, SIZE))] == [True]
    assert len(calls) == 1


def test_fold_and_unfold_are_inverse() -> None:
    images = torch.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    folded = fold(images)
    assert folded.shape == (3, 8, 5, 6)
    assert torch.equal(folded[1, 4:8], images[1, 1])
    assert torch.equal(unfold(folded, 2), images)
