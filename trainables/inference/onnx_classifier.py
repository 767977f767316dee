"""An exported winner: its ONNX file says what it was trained for, and onnxruntime runs it. Torch is not imported."""

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
"""The entries of a card that are text."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What an exported file says of itself, in its metadata.

    Attributes:
        recipe, config: what was trained.
        classes: the names of the classes, in the order of the logits.
        shape: channels, height and width of an image.
        variant: what the model was trained to see of an image: "whole", or what is in its "box".
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
        """As metadata of ONNX, which are text; what is not is written as JSON."""
        return {
            name: value if name in TEXTS else json.dumps(value, ensure_ascii=False)
            for name, value in vars(self).items()
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self:
        """The inverse of `metadata`, of which other entries are ignored.

        Raises:
            KeyError, ValueError: these are not the metadata of a card.
        """
        texts = {field.name: metadata[field.name] for field in fields(cls)}
        values: dict[str, Any] = {n: text if n in TEXTS else json.loads(text) for n, text in texts.items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class OnnxClassifier:
    """An exported model with its card; it names classes as a `Classifier` does.

    Attributes:
        session: onnxruntime's, on the CPU.
        card: what the file says of itself.
    """

    session: Any
    card: Card

    @classmethod
    def load(cls, file: Path | bytes) -> Self:
        """Load a file that `toprung export` wrote, or its bytes.

        Raises:
            InputError: it is none, or onnxruntime is not installed.
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
        """What it was trained to see of an image."""
        return self.card.variant

    @property
    def image_shape(self) -> list[int]:
        """Channels, height and width of the images that it takes."""
        return self.card.shape

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits (N, classes) of uint8 images (N, C, H, W)."""
        logits: npt.NDArray[np.float32]
        (logits,) = self.session.run([LOGITS], {IMAGES: images})
        return logits

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (N, classes) of uint8 images (N, C, H, W)."""
        probabilities: npt.NDArray[np.float32] = softmax(self.logits(images), axis=1)
        return probabilities


def _session(file: Path | bytes) -> Any:
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError:
        raise InputError(f"{_name(file)} {EXTRA}") from None
    options = SessionOptions()
    options.log_severity_level = 3  # errors alone; they are raised, too
    try:
        content = file if isinstance(file, bytes) else file.read_bytes()
        return InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise InputError(f"cannot read {file!s}: {error.strerror}") from error
    except Exception as error:  # onnxruntime has one for each of its codes, which share no base
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{_name(file)} cannot be run by onnxruntime ({reason}); give a file that toprung export wrote"
        ) from error


def _name(file: Path | bytes) -> str:
    return "the model" if isinstance(file, bytes) else str(file)
