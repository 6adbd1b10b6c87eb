"""A packaged model behind MLflow, pictures in, labels out: MLflow copies this file and runs it.

Nothing of kdsweep is imported, so that where the model is served onnxruntime, NumPy, pandas and
Pillow suffice.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray
from PIL import Image, ImageOps


class PictureClassifier(PythonModel):
    """Classifies the bytes of picture files, in a column ``picture``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the model of the package, which carries its classes and its size of images."""
        path = Path(context.artifacts["package"]) / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        about = self.session.get_modelmeta().custom_metadata_map
        self.classes: list[str] = json.loads(about["classes"])
        self.size = int(about["image_size"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """The likeliest class of each picture, as ``label``, and its ``probability``."""
        images = [self._read(i, data) for i, data in enumerate(model_input["picture"])]
        logits = self.session.run(None, {"images": np.stack(images)})[0]
        odds = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        labels = [self.classes[best] for best in odds.argmax(1)]
        return pd.DataFrame({"label": labels, "probability": odds.max(1).astype(np.float64)})

    def _read(self, position: int, data: bytes) -> NDArray[np.uint8]:
        try:
            return read_picture(bytes(data), self.size)
        except Exception as error:  # Pillow's readers raise whatever a broken file makes them
            raise MlflowException.invalid_parameter_value(
                f"picture {position} can't be read: {error}"
            ) from error


def read_picture(data: bytes, size: int) -> NDArray[np.uint8]:
    """A picture as kdsweep reads training images, uint8 [3, size, size].

    Raises:
        OSError, SyntaxError, ValueError and others: Pillow can't read it.
    """
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode == "F" or (image.mode == "I" and opened.format != "PNG"):
            raise ValueError("32-bit pixels have no fixed range")
        if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        picture = image.convert("RGB")
    wide, high = (size * side // min(picture.size) for side in picture.size)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
    return np.asarray(picture.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


set_model(PictureClassifier())
