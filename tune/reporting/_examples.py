"""Test images in a page: small pictures in the page itself, with what they are and were taken for."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tune.examples import Example, Kind
from tune.finalists import Final

EXACT = 32
"""Images of up to this side are kept as they are; of larger ones little is seen of what WebP leaves out."""
QUALITY = 80


def pictures(final: Final, classes: list[str], kind: Kind) -> list[dict[str, Any]]:
    """The examples of a kind, as a page shows them."""
    shown = [Example(**example) for example in final.examples]
    return [
        {
            "source": _source(image),
            "small": max(image.shape) <= EXACT,
            "name": example.name,
            "true": classes[example.label],
            "predicted": classes[example.prediction],
            "right": example.label == example.prediction,
            "probability": example.probability,
        }
        for example, image in zip(shown, final.thumbnails if shown else [], strict=True)
        if example.kind == kind
    ]


def _source(image: NDArray[np.uint8]) -> str:
    """An image (C, H, W) as a URL that holds it."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, lossless=max(image.shape) <= EXACT)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
