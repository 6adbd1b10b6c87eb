"""ReviewKD: each of the teacher's stages, learned from the student's stages up to that depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.adapters import adapter_key
from kdsweep.losses.base import Batch, Shapes, epoch_number
from kdsweep.losses.features import TAPS, FeatureLoss, embedding, last_stages, unactivated
from kdsweep.losses.options import LossSpec, Number

MOST_CHANNELS = 512  # of the maps that are fused
LEVELS = (4, 2, 1)  # pixels of the pooled maps that are compared too

Size = tuple[int, int]


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared differences of maps, and of their averages on 4 x 4, 2 x 2 and 1 x 1 pixels.

    Their weights are 1, 1/2, 1/4 and 1/8 over their sum; levels that are not below the maps'
    height are left out.

    Args:
        student: maps [*, B, C, H, W].
        teacher: maps [*, B, C, H, W].

    Returns:
        [*].

    Source: Chen et al. 2021, Distilling Knowledge via Knowledge Review, section 3.4, and its code
    (dvlab-research/ReviewKD, hcl).
    """
    total, weights = _mean_square(student - teacher), 1.0
    levels = [level for level in LEVELS if level < student.shape[-2]]
    for i, level in enumerate(levels, start=1):
        difference = _pooled(student - teacher, level)  # pooling is linear
        total = total + _mean_square(difference) / 2**i
        weights += 1 / 2**i
    return total / weights


def _mean_square(difference: Tensor) -> Tensor:
    return difference.square().mean((-4, -3, -2, -1))


def _pooled(maps: Tensor, level: int) -> Tensor:
    pooled = F.adaptive_avg_pool2d(maps.flatten(0, -4), (level, level))
    return pooled.view(*maps.shape[:-2], level, level)


class Fusion(nn.Module):
    """Attention-based fusion of one stage's maps with what the deeper stages became.

    Args:
        channels: of the stage's maps.
        fused: of the maps that go on to the next, less deep, fusion.
        out: channels of the teacher's stage.
        size: of its maps, pixels.
        deepest: whether there is nothing to fuse with.

    Source: Chen et al. 2021, section 3.3, and its code (ABF).
    """

    def __init__(self, channels: int, fused: int, out: int, size: Size, *, deepest: bool) -> None:
        super().__init__()
        self.fused = fused
        self.size = size
        enter = nn.Conv2d(channels, fused, 1, bias=False)
        leave = nn.Conv2d(fused, out, 3, padding=1, bias=False)
        for convolution in (enter, leave):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.enter = nn.Sequential(enter, nn.BatchNorm2d(fused))
        self.leave = nn.Sequential(leave, nn.BatchNorm2d(out))
        self.attention = None if deepest else nn.Conv2d(2 * fused, 2, 1)

    def forward(self, maps: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the teacher's stage is compared with, and what goes on.

        Args:
            maps: [B, N * C, H, W], of N members.
            deeper: [B, N * fused, H', W'].
        """
        x: Tensor = self.enter(maps)
        if self.attention is not None:
            assert deeper is not None
            y = F.interpolate(deeper, x.shape[-2:])
            x, y = by_member(x, self.fused), by_member(y, self.fused)
            weight = self.attention(torch.cat((x, y), 2).flatten(1, 2)).sigmoid()
            first, second = by_member(weight, 2).chunk(2, 2)
            x = (x * first + y * second).flatten(1, 2)
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size)
        return self.leave(x), x


def by_member(maps: Tensor, channels: int) -> Tensor:
    """[B, N * C, H, W] as [B, N, C, H, W], whatever N."""
    return maps.view(len(maps), -1, channels, *maps.shape[2:])


class Review(nn.Module):
    """The fusions of all stages, from the deepest up."""

    def __init__(self, student: Sequence[tuple[int, ...]], teacher: Sequence[tuple[int, ...]]):
        super().__init__()
        fused = min(MOST_CHANNELS, student[-1][0])
        self.fusions = nn.ModuleList(
            Fusion(ours[0], fused, theirs[0], _size(theirs), deepest=i == len(student) - 1)
            for i, (ours, theirs) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The student's features, shallow to deep, in the teacher's shapes."""
        reviewed: list[Tensor] = []
        deeper = None
        for feature, fusion in zip(reversed(features), reversed(self.fusions), strict=True):
            out, deeper = fusion(as_map(feature), deeper)
            reviewed.insert(0, out)
        return reviewed


def as_map(feature: Tensor) -> Tensor:
    """Embeddings, [B, D] or [N, B, D], as maps of one pixel; maps as they are."""
    return feature if feature.dim() > 3 else feature[..., None, None]


def _size(shape: tuple[int, ...]) -> Size:
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


class ReviewKD(FeatureLoss):
    """ReviewKD over every stage and the embedding; published with weights by pair, CE 1.

    The weights: 5 for wide ResNets and resnet32x4 -> 8x4, 8 for resnet32x4 -> shufflenetv2, 0.6
    for resnet56 -> 20, 1 for resnet110 -> 32 (the authors' script). The teacher's maps are those
    before the last activation of a stage. The loss rises with epoch / warmup_epochs to its whole,
    with epochs counted from 1 (the authors count from 0).
    """

    spec = LossSpec(name="reviewkd", weight=1.0, options={**TAPS, "warmup_epochs": Number(20.0)})

    def default_taps(
        self, student: nn.Module, teacher: nn.Module, image_size: int
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Every stage, paired from the deepest up, and the embeddings."""
        ours, theirs = last_stages(student, teacher)
        theirs = tuple(unactivated(teacher, stage, image_size) for stage in theirs)
        return (*ours, embedding(student)), (*theirs, embedding(teacher))

    def adapters(self, student_shapes: Shapes, teacher_shapes: Shapes) -> nn.ModuleDict:
        """One module over all of the student's stages."""
        ours = [student_shapes[tap] for tap in self.student_taps]
        theirs = [teacher_shapes[tap] for tap in self.teacher_taps]
        return nn.ModuleDict({adapter_key("student"): Review(ours, theirs)})

    def compute(self, batch: Batch, h: Mapping[str, Tensor]) -> Tensor:
        """The loss [N], summed over the stages."""
        losses = [hierarchical_context(s, as_map(t)) for s, t in self.features(batch)]
        warmup = (epoch_number(batch.epoch) / h["warmup_epochs"]).clamp(max=1.0)
        return warmup * torch.stack(losses).sum(0)
