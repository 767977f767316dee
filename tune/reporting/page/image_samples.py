"""Small images embedded in a page; those of the test set come with their true and predicted classes."""

from base64 import b64encode
from collections import defaultdict
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tune.experiment.train_samples import Samples
from tune.finals.finalists import Final
from tune.finals.test_samples import Kind

EXACT = 32
"""The longest side of images kept without loss; in larger ones the loss by WebP is hardly visible."""
QUALITY = 80


def pictures(final: Final, classes: list[str], kind: Kind) -> list[dict[str, object]]:
    """Return the test-set samples of a kind, as a page shows them."""
    return [
        {
            **_shown(image, example.name),
            "true": classes[example.label],
            "predicted": classes[example.prediction],
            "right": example.label == example.prediction,
            "probability": example.probability,
        }
        for example, image in zip(final.examples, final.thumbnails if final.examples else [], strict=True)
        if example.kind == kind
    ]


def by_class(samples: Samples | None, classes: list[str]) -> dict[str, list[dict[str, object]]]:
    """Return the train-set samples as a page shows them, by the name of their class."""
    found: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    if samples is not None:
        for image, label, name in zip(samples.images, samples.labels, samples.names.tolist(), strict=True):
            found[classes[label]].append(_shown(image, name))
    return found


def _shown(image: NDArray[np.uint8], name: str) -> dict[str, object]:
    return {"source": _source(image), "small": max(image.shape) <= EXACT, "name": name}


def _source(image: NDArray[np.uint8]) -> str:
    """Encode an image (C, H, W) as a data URL."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, lossless=max(image.shape) <= EXACT)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
