from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomErasing

from kdsweep.data.erase import erase, rectangles

SEEDS = torch.tensor([3, 8])
INDEX = torch.arange(40).reshape(2, 20)


def test_pixels_in_the_rectangle_are_0_and_no_others_change() -> None:
    images = torch.rand(2, 20, 3, 12, 9, dtype=torch.float64) + 1
    erased = erase(images, SEEDS, 1, INDEX, probability=0.7)
    top, left, tall, wide = rectangles(SEEDS, 1, INDEX, height=12, width=9, probability=0.7)
    for s in range(2):
        for b in range(20):
            expected = images[s, b].clone()
            y, x = int(top[s, b]), int(left[s, b])
            expected[:, y : y + int(tall[s, b]), x : x + int(wide[s, b])] = 0
            assert torch.equal(erased[s, b], expected)
    assert (erased == 0).any(dim=(2, 3, 4)).any()


def test_layout_is_kept() -> None:
    images = torch.rand(2, 20, 8, 8, 3).movedim(-1, -3)
    assert erase(images, SEEDS, 0, INDEX, probability=1.0).stride() == images.stride()


def test_probability_0_changes_nothing_and_1_erases_nearly_all() -> None:
    images = torch.ones(2, 20, 3, 32, 32)
    assert torch.equal(erase(images, SEEDS, 0, INDEX, probability=0.0), images)
    erased = erase(images, SEEDS, 0, INDEX, probability=1.0)
    assert (erased == 0).any(dim=-1).any(dim=-1).any(dim=-1).all()


def test_frequency() -> None:
    index = torch.arange(4000)[None]
    _, _, tall, _ = rectangles(SEEDS[:1], 0, index, height=32, width=32, probability=0.25)
    assert abs(int((tall > 0).sum()) - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_rectangles_are_distributed_as_torchvisions(height: int, width: int) -> None:
    n = 1500
    ours = rectangles(
        torch.tensor([0]), 0, torch.arange(n)[None], height=height, width=width, probability=1.0
    )
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    drawn = [RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3))[:4] for _ in range(n)]
    for mine, theirs in zip(ours, zip(*drawn, strict=True), strict=True):
        assert stats.ks_2samp(mine[0].numpy(), theirs).pvalue > 1e-3
    area = [h * w for _, _, h, w in drawn]
    assert stats.ks_2samp((ours[2] * ours[3])[0].numpy(), area).pvalue > 1e-3


def test_rectangles_stay_inside_and_within_the_published_ranges() -> None:
    index = torch.arange(5000)[None]
    top, left, tall, wide = rectangles(
        torch.tensor([1]), 0, index, height=64, width=48, probability=1.0
    )
    assert ((top >= 0) & (top + tall <= 64) & (left >= 0) & (left + wide <= 48)).all()
    there = tall > 0
    share = (tall * wide)[there] / (64 * 48)
    assert 0.015 < share.min() < 0.03
    assert 0.32 < share.max() < 0.34
    ratio = (tall[there] / wide[there]).log()
    assert math.log(0.25) < ratio.min() < math.log(0.32)
    assert math.log(3.1) < ratio.max() < math.log(3.9)
    for reached in (top, left, 64 - top - tall, 48 - left - wide):
        assert reached[there].min() == 0  # every edge


def test_an_image_too_small_for_any_rectangle_stays_whole() -> None:
    images = torch.ones(1, 3, 3, 1, 1)
    index = torch.arange(3)[None]
    assert torch.equal(erase(images, SEEDS[:1], 0, index, probability=1.0), images)


def test_a_pure_function_of_seed_epoch_and_index() -> None:
    def draw(seeds: torch.Tensor, epoch: int, index: torch.Tensor) -> torch.Tensor:
        return torch.stack(rectangles(seeds, epoch, index, height=32, width=32, probability=0.5))

    both = draw(SEEDS, 4, INDEX)
    alone = draw(SEEDS[1:], 4, INDEX[1:].flip(1))
    assert torch.equal(both[:, 1:], alone.flip(2))
    assert not torch.equal(both, draw(SEEDS, 5, INDEX))
    assert not torch.equal(both, draw(SEEDS + 1, 4, INDEX))
