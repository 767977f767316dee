"""The classification of image files with a winner, from an experiment or an exported file."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from search_spaces import InputError, Variant
from trainables.data import decode
from trainables.data.decode import IMAGE_SUFFIXES
from trainables.inference.onnx_classifier import OnnxClassifier
from tune.models.model_folder import ModelFolder

PREDICTED_AT_ONCE = 64


class Model(Protocol):
    """A model that classifies: a `Classifier` or an `OnnxClassifier`."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""

    @property
    def variant(self) -> Variant:
        """The input variant that it was trained on."""

    @property
    def image_shape(self) -> list[int]:
        """The channels, height and width of the images that it takes."""

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities (N, classes) of uint8 images (N, C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for a file.

    Attributes:
        image: its path.
        ranked: classes with their probabilities, the most probable first; empty for a broken image.
        error: the reason that it could not be classified.
    """

    image: Path
    ranked: list[tuple[str, float]]
    error: str | None = None


def load(source: Path, recipe: str | None = None) -> Model:
    """Load the model to predict with.

    Args:
        source: an experiment, for its winner; the folder of a winner or of a published row; or an exported .onnx file.
        recipe: the recipe whose winner to take from an experiment; None for the winner of all.

    Raises:
        InputError: there is no such model, or it cannot classify whole images.
    """
    model: Model
    way = "cut the images to their boxes"
    if source.suffix != ".onnx":
        trained = ModelFolder.find(source, recipe)
        model = trained.load()
        way = f"in Python, call trainables.Classifier.load({str(trained.folder)!r}).predict(files, boxes)"
    elif recipe is None:
        model = OnnxClassifier.load(source)
    else:
        raise InputError(f"--recipe {recipe}: {source} is one model; give its experiment to choose among recipes")
    if model.variant == "box":
        raise InputError(f"{source} was trained on boxes, not on whole images: {way}")
    return model


def find(paths: Iterable[Path]) -> list[Path]:
    """Find the files to classify, each once: named files, and image files at any depth of named folders.

    Image files are told by their suffix. Hidden files and folders are left out, and links to folders are not followed,
    as in the folders of data sets.

    Raises:
        InputError: a path is not there, or a folder holds no image.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [
                Path(folder, name)
                for folder, _, names in _walk(path)
                for name in sorted(names)
                if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
            ]
            if not inside:
                raise InputError(f"{path} holds no image; it is searched for {', '.join(sorted(IMAGE_SUFFIXES))}")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: there is no such file or folder")
    return list(dict.fromkeys(files))


def _walk(root: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error

    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder, below, names


def predict(
    model: Model, files: Sequence[Path], *, top: int, progress: Callable[[int], None] = lambda done: None
) -> list[Prediction]:
    """Classify files, in their order; a broken file does not stop the others.

    Args:
        model: from `load`.
        files: images.
        top: number of classes to give for each image.
        progress: called with the number of files that are done.

    Raises:
        InputError: `top` is less than 1.
    """
    if top < 1:
        raise InputError(f"--top {top}: must be at least 1")
    channels, size, _ = model.image_shape

    def pixels(file: Path) -> npt.NDArray[np.uint8] | str:
        try:
            return decode(file, size, channels)
        except InputError as error:
            return str(error)

    predictions: list[Prediction] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), PREDICTED_AT_ONCE):
            batch = files[start : start + PREDICTED_AT_ONCE]
            decoded = list(pool.map(pixels, batch))
            whole = [image for image in decoded if not isinstance(image, str)]
            rows = iter(model.probabilities(np.stack(whole)) if whole else ())
            predictions += [
                Prediction(image=file, ranked=[], error=image)
                if isinstance(image, str)
                else Prediction(image=file, ranked=_ranked(next(rows), model.classes, top))
                for file, image in zip(batch, decoded, strict=True)
            ]
            progress(len(predictions))
    return predictions


def _ranked(probabilities: npt.NDArray[np.float32], classes: Sequence[str], top: int) -> list[tuple[str, float]]:
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [(classes[index], float(probabilities[index])) for index in best]


def table(predictions: Iterable[Prediction]) -> Table:
    """Return a table with a line for each image: the class, its probability, and the next classes."""
    found = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("image", "class"):
        found.add_column(heading, overflow="fold")
    found.add_column("probability", justify="right")
    found.add_column("others", style="dim", overflow="fold")
    for prediction in predictions:
        if prediction.ranked:
            (name, probability), *others = prediction.ranked
            rest = ", ".join(f"{other} {share:.3f}" for other, share in others)
            found.add_row(Text(str(prediction.image)), Text(name, style="bold"), f"{probability:.3f}", Text(rest))
    return found


def as_json(predictions: Iterable[Prediction]) -> str:
    """Return JSON: a list with an object for each image, which holds its path, and its predictions or its error."""
    content = [
        {"image": str(prediction.image), "error": prediction.error}
        if prediction.error is not None
        else {
            "image": str(prediction.image),
            "predictions": [{"class": name, "probability": share} for name, share in prediction.ranked],
        }
        for prediction in predictions
    ]
    return json.dumps(content, indent=1, ensure_ascii=False)


def as_csv(predictions: Iterable[Prediction]) -> str:
    """Return CSV: a row for each class of each image, by rank; broken images have none."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "rank", "class", "probability"])
    for prediction in predictions:
        for rank, (name, share) in enumerate(prediction.ranked, start=1):
            writer.writerow([prediction.image, rank, name, share])
    return text.getvalue().rstrip("\n")
