"""``python -m kdsweep.predict``: what a packaged model sees in pictures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.errors import UserError, first_line
from kdsweep.sweeper.explain import explain
from kdsweep.terminal import arguments, command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

USAGE = """
python -m kdsweep.predict model=PACKAGE [plugins=[MODULE]] PICTURE [PICTURE ...]

  model=PACKAGE  a folder that kdsweep.package wrote, or its model.safetensors, .onnx or .pt2
  plugins=[MODULE]
                 your own module with the model's architecture, which model.safetensors needs;
                 model.onnx and model.pt2 hold theirs

It prints a line for each picture: its class, and the probability that the model gives it.
"""


def main(given: list[str]) -> None:
    """Print the classes of pictures.

    Raises:
        UserError: there is no such model, or a picture can't be read.
    """
    options = [one for one in given if "=" in one and not Path(one).is_file()]
    pictures = [one for one in given if one not in options]
    values = arguments.parse(options, {"model": None, "plugins": None})
    model, modules = values["model"], values["plugins"]
    if not model:
        raise UserError("model=: name a package's folder, or its model.safetensors or .onnx")
    if not pictures:
        raise UserError(f"model={model}: name one picture or more behind it")
    from kdsweep import plugins
    from kdsweep.package.classifier import answer
    from kdsweep.package.formats import open_model

    if modules is not None:
        plugins.load([one.strip() for one in modules.strip("[]").split(",")])
    plugins.load_installed()
    opened = open_model(Path(model))
    manifest = opened.manifest
    for name in pictures:
        image = _read(name, manifest.image_size)
        print(answer(name, opened.logits(image[None])[0], manifest.classes))


def _read(name: str, size: int) -> NDArray[np.uint8]:
    """A picture as the training images were read, uint8 [3, size, size]."""
    import numpy as np

    from kdsweep.data.decode import square

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of oddities in files that it can read
            return np.ascontiguousarray(square(Path(name), size=size))
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them
        reason = error.strerror if isinstance(error, OSError) and error.strerror else None
        raise UserError(
            f"{name}: is no readable picture ({reason or first_line(error)})"
        ) from error


if __name__ == "__main__":
    command.run(main, USAGE, explain)
