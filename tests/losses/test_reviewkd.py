from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdsweep.config import ModelConfig
from kdsweep.losses.registry import create_loss
from kdsweep.losses.reviewkd import Fusion, Review, hierarchical_context
from kdsweep.models import create_model
from kdsweep.train.grouped import check, group
from kdsweep.train.student import with_adapters
from tests.losses.toy import Case, make

# The reference, as the paper's sections 3.3 and 3.4 and the authors' code define it, written out
# one image and one level at a time.


def compare_levels(student, teacher):
    """For maps [B, C, H, W] of one member: a mean over levels, by weights 1, 1/2, 1/4, 1/8."""
    height = student.shape[2]
    parts = [(1.0, ((student - teacher) ** 2).mean())]
    weight = 1.0
    for side in (4, 2, 1):
        if side >= height:
            continue
        weight /= 2
        ours = F.adaptive_avg_pool2d(student, (side, side))
        theirs = F.adaptive_avg_pool2d(teacher, (side, side))
        parts.append((weight, ((ours - theirs) ** 2).mean()))
    return sum(w * p for w, p in parts) / sum(w for w, _ in parts)


def fuse(block: Fusion, maps, deeper, size):
    """Two softly weighed maps; z has a weight for each, everywhere."""
    x = block.enter[1](F.conv2d(maps, block.enter[0].weight))
    if block.attention is not None:
        y = F.interpolate(deeper, size=maps.shape[2:], mode="nearest")
        z = F.conv2d(torch.cat([x, y], 1), block.attention.weight, block.attention.bias)
        z = 1 / (1 + torch.exp(-z))
        x = torch.stack([x[b] * z[b, 0] + y[b] * z[b, 1] for b in range(len(x))])
    if x.shape[2:] != size:
        x = F.interpolate(x, size=size, mode="nearest")
    return block.leave[1](F.conv2d(x, block.leave[0].weight, padding=1)), x


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
def test_the_hierarchical_loss_against_the_reference(side: int) -> None:
    student, teacher = torch.randn(2, 3, 5, 4, side, side, dtype=torch.float64)
    value = hierarchical_context(student, teacher)
    expected = torch.stack([compare_levels(s, t) for s, t in zip(student, teacher, strict=True)])
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


def test_by_hand_of_one_pixel_and_of_two() -> None:
    one = torch.full((1, 1, 1, 1, 1), 3.0)
    assert hierarchical_context(one, torch.zeros_like(one)).item() == 9
    two = torch.tensor([[[[[2.0, 0.0], [0.0, 0.0]]]]])  # mean square 1; of the mean 1/2: 1/4
    value = hierarchical_context(two, torch.zeros_like(two)).item()
    assert value == pytest.approx((1 + 0.25 / 2) / 1.5)


def test_the_fusions_against_the_reference() -> None:
    torch.manual_seed(0)
    student = [(6, 8, 8), (10, 4, 4), (12, 4, 4), (12,)]
    teacher = [(5, 16, 16), (7, 8, 8), (9, 4, 4), (11,)]
    module = Review(student, teacher).double()
    features = [torch.randn(3, *shape, dtype=torch.float64) for shape in student]
    reference = copy.deepcopy(module)
    reviewed = module(features)
    deeper, expected = None, []
    for feature, block, shape in list(zip(features, reference.fusions, teacher, strict=True))[
        ::-1
    ]:
        maps = feature if feature.dim() == 4 else feature.view(3, -1, 1, 1)
        out, deeper = fuse(block, maps, deeper, torch.Size(shape[1:] or (1, 1)))
        expected.insert(0, out)
    for ours, theirs, shape in zip(reviewed, expected, teacher, strict=True):
        assert ours.shape[1:] == (shape[0], *(shape[1:] or (1, 1)))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    assert module.fusions[-1].attention is None
    assert module.fusions[0].fused == 12  # channels of the deepest, at most 512


def test_it_starts_as_published() -> None:
    """Both convolutions from the uniform distribution of variance 1 / fan_in."""
    torch.manual_seed(0)
    block = Fusion(64, 48, 32, (8, 8), deepest=False)
    for conv, fan_in in ((block.enter[0], 64), (block.leave[0], 48 * 9)):
        bound = (3 / fan_in) ** 0.5
        assert conv.weight.abs().max() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert conv.bias is None


def test_the_whole_loss_is_the_sum_over_stages_and_embedding() -> None:
    case = Case("reviewkd", {"warmup_epochs": 0.0})
    assert case.loss.student_taps == ("first", "second", "third", "head:input")
    expected = torch.zeros(3, dtype=torch.float64)
    for ours, theirs in zip(case.loss.student_taps, case.loss.teacher_taps, strict=True):
        teacher = case.teacher[theirs]
        teacher = teacher if teacher.dim() == 5 else teacher[..., None, None]
        expected += torch.stack(
            [compare_levels(s, t) for s, t in zip(case.tensors[ours], teacher, strict=True)]
        )
    torch.testing.assert_close(case.value(), expected, rtol=1e-6, atol=0)


def test_it_rises_to_its_whole() -> None:
    case = Case("reviewkd", {"warmup_epochs": 10.0})
    case.h["warmup_epochs"] = torch.full((3,), 10.0, dtype=torch.float64)
    whole = case.value(epoch=9.5)
    torch.testing.assert_close(case.value(epoch=3.7), 0.4 * whole)
    torch.testing.assert_close(case.value(epoch=50), whole)


@pytest.mark.parametrize(
    ("name", "tap"),
    [
        ("resnet8", "layer3.0.relu2:input"),  # ends in the ReLU after the sum
        ("wrn_16_1", "group3"),  # ends in the sum itself
        ("shufflenetv2", "group3"),  # ends in a channel shuffle: its last ReLU is of one branch
    ],
)
def test_the_teacher_is_tapped_before_the_activation(name: str, tap: str) -> None:
    teacher = create_model(ModelConfig(name=name), classes=4, image_size=32)
    student = create_model(ModelConfig(name="resnet8"), classes=4, image_size=32)
    loss = create_loss("reviewkd", {}, student=student, teacher=teacher)
    assert loss.teacher_taps[-2] == tap
    assert loss.student_taps == ("layer1", "layer2", "layer3", "fc:input")


def test_members_train_as_one_network() -> None:
    torch.manual_seed(0)
    student = create_model(ModelConfig(name="resnet8"), classes=4, image_size=16)
    teacher = create_model(ModelConfig(name="resnet8x4"), classes=4, image_size=16)
    losses = {"reviewkd": create_loss("reviewkd", {}, student=student, teacher=teacher)}
    template = with_adapters(student, losses, teacher, 16)
    check(template, group(template), (3, 16, 16))  # raises where members mix


def test_stages_are_paired_from_the_deepest() -> None:
    assert make("reviewkd", {}).teacher_taps == ("first", "second", "third", "head:input")
    assert isinstance(Review([(3,)], [(4,)]).fusions[0].enter[0], nn.Conv2d)
