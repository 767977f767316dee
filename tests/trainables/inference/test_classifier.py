"""An exported winner, applied to files."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from search_spaces import DataShape, InputError, space_of
from trainables import Classifier
from trainables.training.protocol import build_of

SHAPE = DataShape(samples=100, channels=1, height=8, width=8, classes=3)
BOX = [5.0, 7.0, 8.0, 8.0]


def winner(folder: Path, variant: str) -> Classifier:
    """An untrained mlp, as a report writes it into best/."""
    space = space_of("mlp").default()
    save_file(build_of("mlp")(space, SHAPE).state_dict(), folder / "model.safetensors")
    card = {
        "recipe": "mlp",
        "config": dataclasses.asdict(space),
        "shape": dataclasses.asdict(SHAPE),
        "classes": ["a", "b", "c"],
        "variant": variant,
    }
    (folder / "metrics.json").write_text(json.dumps(card))
    return Classifier.load(folder)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)


def test_a_box_is_cut_out_before_the_image_is_resized(tmp_path: Path, pixels: np.ndarray) -> None:
    cut = png(pixels[7:15, 5:13])
    classifier = winner(tmp_path, "box")
    given = classifier.predict([png(pixels)] * 2, boxes=[BOX, [0, 0, 20, 20]])
    np.testing.assert_allclose(given[:1], classifier.predict([cut], boxes=[[0, 0, 8, 8]]), rtol=1e-6)
    assert np.abs(given[0] - given[1]).max() > 1e-3


def test_a_model_of_boxes_refuses_whole_files(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="trained on boxes, not on whole images: give predict boxes, x, y, width, hei"):
        winner(tmp_path, "box").predict([png(pixels)])


@pytest.mark.parametrize(
    ("variant", "boxes", "message"),
    [
        ("whole", [BOX], "trained on whole images, not on boxes: give predict no boxes"),
        ("box", [BOX, BOX], "2 boxes for 1 images: give predict a box for each image"),
        ("box", [[15, 0, 8, 8]], r"its box \[15, 0, 8, 8\] is not inside the image of 20 x 30 pixels"),
        ("box", [[0, 0, 8]], r"its box \[0, 0, 8\] is not x, y, width and height"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(
    tmp_path: Path, pixels: np.ndarray, variant: str, boxes: list[list[float]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        winner(tmp_path, variant).predict([png(pixels)], boxes=boxes)
