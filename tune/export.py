"""A winner as ONNX: preprocessing and weights inside, class names in the metadata, and checked against PyTorch."""

import json
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from search_spaces import InputError, Training, space_of
from trainables import Classifier
from trainables._data import load_train
from trainables._data._decode import RESIZE_RULE
from trainables._files import whole
from trainables._onnx import EXTRA, IMAGES, LOGITS, Card, OnnxClassifier
from tune.experiment import Experiment

CHECKED = 256
"""Images of val that PyTorch and onnxruntime are compared on."""

BATCHES = (1, 31, 32)
"""The sizes of their batches, of which the last repeats: the file must take batches of any size."""

ABSOLUTE, RELATIVE = 1e-4, 1e-4
"""How far logits may be apart: ABSOLUTE + RELATIVE * |logit|."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How an exported model compares with the one in PyTorch.

    Attributes:
        images: number of images compared.
        difference: the largest absolute difference of logits.
        outside: number of logits that are further apart than is allowed, or not finite.
        disagreements: number of images with another top-1 class.
    """

    images: int
    difference: float
    outside: int
    disagreements: int

    @property
    def passed(self) -> bool:
        """Whether the exported model stands for the one in PyTorch."""
        return self.outside == 0 and self.disagreements == 0


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came of an export.

    Attributes:
        recipe: what was exported.
        file: where it is, if it passed.
        mib: its size.
        parity: how it compares.
    """

    recipe: str
    file: Path
    mib: float
    parity: Parity


def export(experiment: Experiment, recipe: str | None = None, output: Path | None = None) -> Exported:
    """Export a winner and compare it with PyTorch on images of val; it is written only if it passes.

    Args:
        experiment: a finished one, whose image store is there.
        recipe: whose winner; None for the winner of all.
        output: the file, NAME-RECIPE.onnx in the working directory if None.

    Raises:
        InputError: there is no such winner, it cannot be exported, the extra is not installed, or the file cannot
            be written.
    """
    folder = experiment.best(recipe)
    recipe = folder.name
    if not is_network(recipe):
        raise InputError(
            f"{recipe} cannot be exported: it is no network, but the training images themselves; {_way_out(experiment)}"
        )
    output = output or Path(f"{experiment.settings.name}-{recipe}.onnx")
    if output.suffix != ".onnx":
        raise InputError(f"--output {output}: must end in .onnx, as toprung predict tells files by it")
    classifier = Classifier.load(folder)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    card = Card(
        recipe=recipe,
        config=metrics["config"],
        classes=classifier.classes,
        shape=classifier.image_shape,
        variant=classifier.variant,
        data=metrics["data"],
        decoding=RESIZE_RULE,
    )
    val = load_train(experiment.folder, torch.device("cpu"), resident=False).val
    images, _ = val.batch(torch.linspace(0, len(val) - 1, min(CHECKED, len(val))).long())
    try:
        content = to_onnx(classifier, card)
        parity = compare(classifier, OnnxClassifier.load(content), images.numpy())
    except InputError:
        raise
    except Exception as error:  # whatever an operator, or a batch of another size, leads them to
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{recipe} cannot be exported ({reason}); {_way_out(experiment, but=recipe)}") from error
    if parity.passed:
        try:
            with whole(output.absolute()) as draft:
                draft.write_bytes(content)
        except OSError as error:
            raise InputError(f"--output {output}: {error.strerror}; choose a file that can be written") from None
    return Exported(recipe=recipe, file=output, mib=len(content) / 2**20, parity=parity)


def is_network(recipe: str) -> bool:
    """Whether a recipe trains a network, by the space that networks share."""
    return issubclass(space_of(recipe), Training)


def to_onnx(classifier: Classifier, card: Card) -> bytes:
    """The model as ONNX with its card: uint8 (batch, C, H, W) to logits (batch, classes), for batches of any size.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch imports it late, and its error names no extra
    except ImportError:
        raise InputError(f"toprung export {EXTRA}") from None
    example = torch.zeros((2, *classifier.image_shape), dtype=torch.uint8)  # of one image the 1 would be a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own inside; what counts is the comparison afterwards
        program = torch.onnx.export(
            classifier.model,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: "batch"},),
            input_names=[IMAGES],
            output_names=[LOGITS],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: Any = program.model_proto
    onnx.helper.set_model_props(model, card.metadata())
    content: bytes = model.SerializeToString()
    return content


def compare(classifier: Classifier, exported: OnnxClassifier, images: npt.NDArray[np.uint8]) -> Parity:
    """Compare logits on uint8 images (N, C, H, W), in batches of several sizes."""
    sizes = np.cumsum([0, *BATCHES, *([BATCHES[-1]] * (len(images) // BATCHES[-1]))]).clip(max=len(images))
    batches = [images[start:end] for start, end in pairwise(sizes.tolist()) if start < end]
    expected = np.concatenate([classifier.logits(batch) for batch in batches])
    found = np.concatenate([exported.logits(batch) for batch in batches])
    difference = np.abs(found - expected)
    return Parity(
        images=len(images),
        difference=float(difference.max()),
        outside=int((~(difference <= ABSOLUTE + RELATIVE * np.abs(expected))).sum()),  # so that NaN is outside
        disagreements=int((found.argmax(1) != expected.argmax(1)).sum()),
    )


def _way_out(experiment: Experiment, but: str | None = None) -> str:
    others = [recipe for recipe in experiment.tested if recipe != but and is_network(recipe)]
    return f"export the best network: --recipe {others[0]}" if others else "no other network was tested"
