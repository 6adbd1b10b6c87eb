from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import transforms

from kdsweep.config import DataConfig, ViewsConfig
from kdsweep.data import Views, normalise

IMAGES = torch.randint(0, 256, (6, 3, 7, 5), generator=torch.manual_seed(0), dtype=torch.uint8)


def _config(padding: int = 2, flip: bool = True) -> DataConfig:
    return DataConfig(views=ViewsConfig(padding=padding, flip=flip))


def _views(config: DataConfig, channels_last: bool = False) -> Views:
    return Views(IMAGES, config, device="cpu", dtype=torch.float64, channels_last=channels_last)


def _by_pillow(image: Tensor, down: int, across: int, flip: bool, padding: int) -> Tensor:
    """Pad with black, crop ``down`` and ``across`` from the corner, flip, normalise."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    padded = ImageOps.expand(picture, padding)
    crop = padded.crop((across, down, across + picture.width, down + picture.height))
    if flip:
        crop = ImageOps.mirror(crop)
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).double() / 255
    config = DataConfig()
    normalised: Tensor = transforms.Normalize(config.mean, config.std)(pixels)
    return normalised


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_views_are_pads_crops_and_flips(padding: int, flip: bool, channels_last: bool) -> None:
    """Every view of an image is one brute-force crop, and every crop is one view."""
    views = _views(_config(padding, flip), channels_last)
    side = 2 * padding + 1
    offsets = [(padding + i) % side for i in range(side)]
    places = [
        (d, a, f) for f in ((False, True) if flip else (False,)) for d in offsets for a in offsets
    ]
    assert views.count == len(places)
    for i, image in enumerate(IMAGES):
        rendered = views.render(torch.tensor(i).expand(views.count), torch.arange(views.count))
        for pixels, (down, across, mirrored) in zip(rendered, places, strict=True):
            expected = _by_pillow(image, down, across, mirrored, padding)
            torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_view_0_is_normalise_to_the_bit(dtype: torch.dtype, channels_last: bool) -> None:
    config = _config()
    views = Views(IMAGES, config, device="cpu", dtype=dtype, channels_last=channels_last)
    index = torch.tensor([3, 0, 5])
    rendered = views.render(index, torch.zeros(3, dtype=torch.int64))
    expected = normalise(IMAGES[index], config, dtype=dtype)
    assert rendered.dtype == expected.dtype == dtype
    assert torch.equal(rendered, expected)


def test_layouts_agree_to_the_bit() -> None:
    planar, together = _views(_config()), _views(_config(), channels_last=True)
    index = torch.arange(6)
    view = torch.tensor([0, 7, 13, 24, 25, 49])
    first, second = planar.render(index, view), together.render(index, view)
    assert torch.equal(first, second)
    assert first.is_contiguous()
    assert second.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
def test_any_leading_shape(channels_last: bool) -> None:
    views = _views(_config(), channels_last)
    index = torch.arange(24).reshape(2, 3, 4) % 6
    view = torch.arange(24).reshape(2, 3, 4)
    rendered = views.render(index, view)
    assert rendered.shape == (2, 3, 4, 3, 7, 5)
    assert torch.equal(rendered.flatten(0, 2), views.render(index.flatten(), view.flatten()))
    assert views.render(torch.tensor(1), torch.tensor(2)).shape == (3, 7, 5)
    assert views.render(torch.empty(0).long(), torch.empty(0).long()).shape == (0, 3, 7, 5)


def test_normalise_is_torchvisions_and_keeps_the_layout() -> None:
    config = _config()
    expected = transforms.Normalize(config.mean, config.std)(IMAGES.double() / 255)
    for images in (IMAGES, IMAGES.contiguous(memory_format=torch.channels_last)):
        ours = normalise(images, config, dtype=torch.float64)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)
        assert ours.stride() == images.stride()
    assert normalise(IMAGES[None, None], config, dtype=torch.float32).shape == (1, 1, 6, 3, 7, 5)


def test_half_precision_is_rounded_once() -> None:
    config = _config()
    exact = normalise(IMAGES, config, dtype=torch.float64)
    half = normalise(IMAGES, config, dtype=torch.bfloat16)
    # Half a unit in the last of 8 significant bits.
    torch.testing.assert_close(half.double(), exact, rtol=2**-8 * 1.01, atol=1e-6)


def test_views_are_uniform() -> None:
    views = _views(_config())
    seeds = torch.arange(10)
    index = torch.arange(1000).expand(10, -1)
    sampled = views.sample(seeds, 3, index)
    counts = torch.bincount(sampled.flatten(), minlength=views.count).double()
    expected = sampled.numel() / views.count
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    # Chi-square with 49 degrees of freedom, mean 49, variance 98: within 4 standard deviations.
    assert len(counts) == views.count == 50
    assert abs(statistic - 49) < 4 * math.sqrt(98)


def test_epochs_and_neighbours_are_uncorrelated() -> None:
    views = _views(_config())
    index = torch.arange(5000)[None]
    seed = torch.tensor([7])
    now = views.sample(seed, 0, index)
    for other in (views.sample(seed, 1, index), views.sample(seed + 1, 0, index), now.roll(1)):
        # Equal by chance once in 50: 100 +- 10.
        assert abs(int((now == other).sum()) - 100) < 40


def test_a_member_sees_the_same_views_in_any_company() -> None:
    views = _views(_config())
    order = torch.randperm(500, generator=torch.manual_seed(1))
    alone = views.sample(torch.tensor([5]), 2, order[None])
    company = views.sample(torch.tensor([1, 5, 9]), 2, torch.stack([order.flip(0), order, order]))
    assert torch.equal(company[1], alone[0])
    # By parts, in another order, as a batch of another size: always the view of that image.
    part = torch.tensor([17, 3, 256])
    assert torch.equal(views.sample(torch.tensor([5]), 2, order[part][None])[0], alone[0, part])


def test_without_views_there_is_one() -> None:
    views = _views(_config(padding=0, flip=False))
    assert views.count == 1
    assert views.sample(torch.tensor([1, 2]), 0, torch.arange(6).expand(2, -1)).eq(0).all()


@pytest.mark.parametrize(
    ("config", "discrete"),
    [
        (ViewsConfig(), True),
        (ViewsConfig(erase=0.5), False),
        (ViewsConfig(mixup=0.2), False),
    ],
)
def test_discrete(config: ViewsConfig, discrete: bool) -> None:
    assert _views(DataConfig(views=config)).discrete is discrete


def test_images_are_not_touched() -> None:
    before = IMAGES.clone()
    views = _views(_config())
    views.render(torch.arange(6), torch.arange(6)).zero_()
    assert torch.equal(IMAGES, before)
    assert views.render(torch.arange(6), torch.arange(6)).any()


def test_more_images_than_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _views(_config()).render(torch.arange(6), torch.arange(6) + 20)
    monkeypatch.setattr("kdsweep.data.views._BLOCK", 4)
    assert torch.equal(_views(_config()).render(torch.arange(6), torch.arange(6) + 20), whole)
