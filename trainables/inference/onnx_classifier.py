"""An exported winner: an ONNX file that describes itself and runs in onnxruntime, without importing torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from search_spaces import InputError, Variant

EXTRA = "needs onnx, onnxscript and onnxruntime: pip install 'toprung[export]'"

IMAGES, LOGITS = "images", "logits"
"""The names of the model's input and output."""

TEXTS = ("recipe", "variant", "data", "decoding")
"""The entries of a card that are plain text."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description of an exported file, in its metadata.

    Attributes:
        recipe, config: the recipe and configuration of the model.
        classes: the names of the classes, in the order of the logits.
        shape: channels, height and width of an image.
        variant: the part of an image that the model was trained on: "whole", or the content of its "box".
        data: the digest of the data of its search.
        decoding: how an image file becomes pixels.
    """

    recipe: str
    config: dict[str, Any]
    classes: list[str]
    shape: list[int]
    variant: Variant
    data: str
    decoding: str

    def metadata(self) -> dict[str, str]:
        """Return the card as ONNX metadata, which are text; entries of other types are written as JSON."""
        return {
            name: value if name in TEXTS else json.dumps(value, ensure_ascii=False)
            for name, value in vars(self).items()
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self:
        """Return the card in `metadata`, as its inverse; other entries of the metadata are ignored.

        Raises:
            KeyError, ValueError: these are not the metadata of a card.
        """
        texts = {field.name: metadata[field.name] for field in fields(cls)}
        values: dict[str, Any] = {n: text if n in TEXTS else json.loads(text) for n, text in texts.items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class OnnxClassifier:
    """An exported model with its card; it classifies images as a `Classifier` does.

    Attributes:
        session: onnxruntime's session, on the CPU.
        card: the description in the file's metadata.
    """

    session: Any
    card: Card

    @classmethod
    def load(cls, file: Path | bytes) -> Self:
        """Load a file that `toprung export` wrote, or its bytes.

        Raises:
            InputError: it is not such a file, or onnxruntime is not installed.
        """
        session = _session(file)
        try:
            card = Card.of(session.get_modelmeta().custom_metadata_map)
        except (KeyError, ValueError):
            raise InputError(
                f"{_name(file)} does not say its classes and the size of its images; give a file that toprung export "
                "wrote"
            ) from None
        return cls(session=session, card=card)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return self.card.classes

    @property
    def variant(self) -> Variant:
        """The part of an image that it was trained on."""
        return self.card.variant

    @property
    def image_shape(self) -> list[int]:
        """Channels, height and width of the model's input images."""
        return self.card.shape

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return logits (N, classes) of uint8 images (N, C, H, W)."""
        logits: npt.NDArray[np.float32]
        (logits,) = self.session.run([LOGITS], {IMAGES: images})
        return logits

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities (N, classes) of uint8 images (N, C, H, W)."""
        probabilities: npt.NDArray[np.float32] = softmax(self.logits(images), axis=1)
        return probabilities


def _session(file: Path | bytes) -> Any:
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError:
        raise InputError(f"{_name(file)} {EXTRA}") from None
    options = SessionOptions()
    options.log_severity_level = 3  # errors only; they are also raised
    try:
        content = file if isinstance(file, bytes) else file.read_bytes()
        return InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise InputError(f"cannot read {file!s}: {error.strerror}") from error
    except Exception as error:  # onnxruntime has one exception per error code, without a common base
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{_name(file)} cannot be run by onnxruntime ({reason}); give a file that toprung export wrote"
        ) from error


def _name(file: Path | bytes) -> str:
    return "the model" if isinstance(file, bytes) else str(file)
