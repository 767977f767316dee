"""The trained model that a search yields, as a classifier of image files."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import nn

from search_spaces import DataShape, InputError, Variant, add_recipes, recipes, space_of
from trainables.data import Box, BrokenImageError, decode
from trainables.training.protocol import build_of

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A trained model with its classes and its input format.

    Attributes:
        model: maps uint8 images (N, C, H, W) of the stored size to logits (N, classes); in evaluation mode.
        classes: the names of the classes, in the order of the logits.
        shape: sizes of the training data.
        variant: the part of an image that it was trained on: "whole", or the content of its "box".
    """

    model: nn.Module
    classes: list[str]
    shape: DataShape
    variant: Variant

    @classmethod
    def load(cls, folder: Path | str, *, recipes_from: Path | str | None = None) -> Self:
        """Load `best/RECIPE` of an experiment onto the CPU.

        Args:
            folder: the winner's folder.
            recipes_from: the folder of its recipe, if the recipe is from outside. The winner's folder does not record
                it, because a file passed on to others must not decide whose code is run.

        Raises:
            InputError: the folder holds no winner, or its recipe is not known.
        """
        if recipes_from is not None:
            add_recipes(recipes_from, "recipes_from")
        folder = Path(folder)
        if not (folder / "metrics.json").is_file():
            raise InputError(f"{folder} has no metrics.json: give a folder such as results/NAME/best/RECIPE")
        card = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        shape, recipe = DataShape(**card["shape"]), card["recipe"]
        if recipe not in recipes():
            raise InputError(
                f"{folder} is of recipe {recipe!r}, which is not known here; give the folder that it came from: "
                'Classifier.load(..., recipes_from="my_recipes")'
            )
        model = build_of(recipe)(space_of(recipe).of(card["config"]), shape)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(model=model.eval(), classes=card["classes"], shape=shape, variant=card["variant"])

    @property
    def image_shape(self) -> list[int]:
        """Channels, height and width of the model's input images."""
        return [self.shape.channels, self.shape.height, self.shape.width]

    @torch.inference_mode()
    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return logits (N, classes) of uint8 images (N, C, H, W)."""
        logits: npt.NDArray[np.float32] = self.model(torch.from_numpy(images)).float().numpy()
        return logits

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities (N, classes) of uint8 images (N, C, H, W)."""
        probabilities: npt.NDArray[np.float32] = torch.from_numpy(self.logits(images)).softmax(1).numpy()
        return probabilities

    def predict(
        self, images: Path | str | bytes | Iterable[Path | str | bytes], boxes: Iterable[Box] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return probabilities (images, classes) of image files, or of their bytes, decoded as in the search.

        Args:
            images: files or bytes, or a single one.
            boxes: x, y, width and height in pixels, one box per image; each image is cut to its box. Required for a
                model trained on boxes, and refused for any other.

        Raises:
            InputError: a file cannot be read, or is not a whole image; a box is not inside its image; boxes do not fit
                the variant of the model, or do not match the images in number.
        """
        sources = [images] if isinstance(images, str | bytes | Path) else list(images)
        cuts = self._cuts(len(sources), boxes)
        probabilities = np.empty((len(sources), len(self.classes)), np.float32)
        for start in range(0, len(sources), BATCH):
            batch = zip(sources[start : start + BATCH], cuts[start : start + BATCH], strict=True)
            pixels = np.stack([self._pixels(source, box) for source, box in batch])
            probabilities[start : start + BATCH] = self.probabilities(pixels)
        return probabilities

    def _pixels(self, source: Path | str | bytes, box: Box | None) -> npt.NDArray[np.uint8]:
        try:
            return decode(source, self.shape.height, self.shape.channels, box=box)
        except BrokenImageError as error:
            name = f"image of {len(source)} bytes" if isinstance(source, bytes) else source
            raise InputError(f"cannot decode {name}: {error}; leave it out") from None

    def _cuts(self, images: int, boxes: Iterable[Box] | None) -> Sequence[Box | None]:
        """Return the box of each image, None for the whole image."""
        if boxes is None:
            if self.variant == "box":
                raise InputError(
                    "trained on boxes, not on whole images: give predict boxes, x, y, width, height an image"
                )
            return [None] * images
        if self.variant == "whole":
            raise InputError("trained on whole images, not on boxes: give predict no boxes")
        cuts = list(boxes)
        if len(cuts) != images:
            raise InputError(f"{len(cuts)} boxes for {images} images: give predict a box for each image")
        return cuts
