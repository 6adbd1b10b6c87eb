"""Picture files in which reading them wrongly shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def save_odd_pictures(folder: Path) -> list[Path]:
    """Turned, wide, high, 16 bits deep, transparent, with a palette, grey, and as it should be."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 17, 4)).astype(np.uint8)
    smooth = np.linspace(0, 255, 40 * 23 * 3).reshape(40, 23, 3).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = Image.fromarray(noise[..., :3]).quantize(64)
    deep = (np.arange(12 * 30).reshape(12, 30) * 180).astype(np.uint16)
    plain = Image.fromarray(noise[:8, :8, :3])
    made: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("plain.png", plain, {}),
        ("turned.jpg", Image.fromarray(smooth), {"exif": turned}),
        ("wide.png", Image.fromarray(smooth.transpose(1, 0, 2)), {}),
        ("high.webp", Image.fromarray(smooth), {"lossless": True}),
        ("deep.png", Image.fromarray(deep), {}),
        ("transparent.png", Image.fromarray(noise), {}),
        ("palette.png", palette, {"transparency": 3}),
        ("grey.png", Image.fromarray(noise[..., 0]), {}),
    ]
    for name, image, options in made:
        image.save(folder / name, **options)
    return [folder / name for name, _, _ in made]
