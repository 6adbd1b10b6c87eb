from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from kdsweep.data.decode import decode, square
from kdsweep.errors import UserError


def _noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _rgb(*shape: int) -> Image.Image:
    return Image.fromarray(_noise(*shape, 3))


def decoded(folder: Path, names: list[str]) -> list[NDArray[np.uint8]]:
    paths = [folder / name for name in names]
    return list(decode(paths, names.__getitem__, size=8, given="data.root=x"))


def _save(folder: Path, image: Image.Image, name: str, **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.ppm", "no-suffix"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, name: str) -> None:
    image = _rgb(8, 8)
    kind = None if "." in name else "PNG"
    path = _save(
        tmp_path, image, name, format=kind, **({"lossless": True} if "webp" in name else {})
    )
    assert (square(path, size=8) == np.array(image).transpose(2, 0, 1)).all()


def test_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    path = _save(tmp_path, _rgb(8, 8), "a.jpg")
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB")).transpose(2, 0, 1)
    assert (square(path, size=8) == expected).all()


@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (48, 65), (9, 31), (20, 5), (100, 33)])
@pytest.mark.parametrize("size", [8, 32])
def test_resizing_is_torchvisions(tmp_path: Path, shape: tuple[int, int], size: int) -> None:
    image = _rgb(*shape)
    path = _save(tmp_path, image, "a.png")
    recipe = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)])
    expected = np.array(recipe(image)).transpose(2, 0, 1)
    assert (square(path, size=size) == expected).all()


def test_grey_is_repeated(tmp_path: Path) -> None:
    grey = _noise(8, 8)
    array = square(_save(tmp_path, Image.fromarray(grey), "a.png"), size=8)
    assert (array == grey).all()


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path: Path) -> None:
    grey = _noise(8, 8).astype(np.uint16) * 256 + 77
    for name in ("a.png", "a.tif"):
        array = square(_save(tmp_path, Image.fromarray(grey), name), size=8)
        assert (array == grey // 256).all()


def test_transparency_is_dropped(tmp_path: Path) -> None:
    rgba = _noise(8, 8, 4)
    array = square(_save(tmp_path, Image.fromarray(rgba), "a.png"), size=8)
    assert (array == rgba[..., :3].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("transparency", [None, 0, bytes(range(255, 0, -1))])
def test_palette(tmp_path: Path, transparency: object) -> None:
    palette = Image.fromarray(_noise(8, 8), mode=None).convert("P")
    palette.putpalette(_noise(768).tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    array = square(_save(tmp_path, palette, "a.png", **options), size=8)
    assert (array == np.array(palette.convert("RGB")).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("mode", ["1", "LA", "CMYK", "YCbCr"])
def test_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    image = _rgb(8, 8).convert(mode)
    name = "a.tif" if mode in ("CMYK", "YCbCr") else "a.png"
    array = square(_save(tmp_path, image, name), size=8)
    assert (array == np.array(image.convert("RGB")).transpose(2, 0, 1)).all()


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = _save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert (square(path, size=8)[:, 0, 0] == [255, 0, 0]).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = _rgb(8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    array = square(_save(tmp_path, image, "a.png", exif=exif), size=8)
    assert (array == np.rot90(np.array(image), -1).transpose(2, 0, 1)).all()


def test_blocks_keep_the_order_of_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdsweep.data.decode._BLOCK_BYTES", 3 * 8 * 8 * 2)
    names = [f"{i}.png" for i in range(23)]
    for i, name in enumerate(names):
        _save(tmp_path, Image.new("RGB", (8, 8), (i, i, i)), name)
    blocks = decoded(tmp_path, names)
    assert [len(b) for b in blocks] == [2] * 11 + [1]
    assert np.concatenate(blocks)[:, 0, 0, 0].tolist() == list(range(23))


def _break_by_truncation(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _break_by_emptying(path: Path) -> None:
    path.write_bytes(b"")


def _break_by_text(path: Path) -> None:
    path.write_text("this is no image")


def _break_by_checksum(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def _break_by_float(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(path, format="TIFF")


def _break_by_folder_permission(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


@pytest.mark.parametrize(
    "damage",
    [
        _break_by_truncation,
        _break_by_emptying,
        _break_by_text,
        _break_by_checksum,
        _break_by_float,
        _break_by_folder_permission,
    ],
)
def test_unreadable_files_are_named_and_counted(tmp_path: Path, damage: Any) -> None:
    names = [f"{i}.png" for i in range(9)]
    for name in names:
        _save(tmp_path, _rgb(32, 32), name)
    damage(tmp_path / "3.png")
    with pytest.raises(UserError, match=r"1 of 9 images .*: 3\.png \(.+\): mend") as raised:
        decoded(tmp_path, names)
    assert "\n" not in str(raised.value)
    for i in (0, 1, 4, 5, 8):
        _break_by_text(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=r"6 of 9 images .*5\.png .*; \.\.\.: mend") as raised:
        decoded(tmp_path, names)
    assert "8.png" not in str(raised.value)
