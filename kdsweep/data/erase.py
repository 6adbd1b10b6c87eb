"""Random erasing: a rectangle of the mean colour in the image, as a function of its keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdsweep import streams

SCALE = (0.02, 0.33)  # area of the rectangle over that of the image
RATIO = (0.3, 3.3)  # height over width
ATTEMPTS = 10  # at a rectangle that fits


def erase(
    images: Tensor, seeds: Tensor, epoch: int, index: Tensor, *, probability: float
) -> Tensor:
    """Erase a rectangle of each image with the given probability.

    Area, shape and place are drawn as torchvision's ``RandomErasing`` draws them; the value is 0
    after normalisation, the mean of the data. What happens to an image is a pure function of
    (seed, epoch, index).

    Source: Zhong et al., Random Erasing Data Augmentation (AAAI 2020), algorithm 1.

    Args:
        images: Normalised, [S, B, C, H, W].
        seeds: Int64 [S].
        epoch: Counted from 0.
        index: Int64 [S, B], positions among the training images.
        probability: 0 to 1.
    """
    height, width = images.shape[-2:]
    top, left, high, wide = rectangles(
        seeds, epoch, index, height=height, width=width, probability=probability
    )
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    rows = (y >= top[..., None]) & (y < (top + high)[..., None])  # [S, B, H]
    columns = (x >= left[..., None]) & (x < (left + wide)[..., None])  # [S, B, W]
    inside = rows[..., :, None] & columns[..., None, :]
    return images.clone().masked_fill_(inside[..., None, :, :], 0)  # clone keeps the layout


def rectangles(
    seeds: Tensor, epoch: int, index: Tensor, *, height: int, width: int, probability: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width [S, B] in pixels of what is erased; 0 x 0 where nothing is.

    Of ten attempts at an area and a shape, the first that is smaller than the image both ways
    counts; if none is, nothing is erased.
    """
    slots = torch.arange(2 * ATTEMPTS + 3, device=index.device)
    u = streams.uniform(seeds[:, None, None], streams.ERASE, epoch, index[..., None], slots)
    chosen, down, across = u[..., 0:1], u[..., 1:2], u[..., 2:3]
    areas, shapes = u[..., 3 : 3 + ATTEMPTS], u[..., 3 + ATTEMPTS :]

    area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * areas)
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = torch.exp(low + (high - low) * shapes)
    tall = (area * ratio).sqrt().round().long()  # [S, B, attempts]
    wide = (area / ratio).sqrt().round().long()
    fits = (tall < height) & (wide < width)
    first = fits.long().argmax(dim=-1, keepdim=True)  # the first of equal maxima
    erased = fits.gather(-1, first) & (chosen < probability)
    tall = torch.where(erased, tall.gather(-1, first), 0)
    wide = torch.where(erased, wide.gather(-1, first), 0)
    top = (down * (height - tall + 1)).long()
    left = (across * (width - wide + 1)).long()
    return top.squeeze(-1), left.squeeze(-1), tall.squeeze(-1), wide.squeeze(-1)
