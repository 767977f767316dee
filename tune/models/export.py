"""A trained model as ONNX: first layer and weights inside, class names in the metadata, checked against PyTorch."""

import warnings
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from search_spaces import InputError
from trainables import Classifier
from trainables.data import Split, has_test, load_test, load_train
from trainables.data.decode import RESIZE_RULES
from trainables.inference.onnx_classifier import EXTRA, IMAGES, LOGITS, Card, OnnxClassifier
from trainables.storage.files import whole
from tune.experiment.model_folders import row_folders, winner_folders
from tune.models.model_folder import ModelFolder

CHECKED = 256
"""The number of images on which PyTorch and onnxruntime are compared."""

BATCHES = (1, 31, 32)
"""The sizes of their batches, of which the last repeats: the file must take batches of any size."""

LOGIT_TOLERANCE = 1e-4
"""The bound on the absolute difference of logits."""

OF_NOISE = 4.0
"""The bound on the difference of logits in the hundreds, for which float32 itself cannot hold LOGIT_TOLERANCE.

It is a multiple of the difference of PyTorch in float32 from PyTorch in float64. Two orders of the same sum differed by
up to 2.7 times that.
"""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The comparison of an exported model with the one in PyTorch.

    Attributes:
        images: number of images compared.
        difference: the largest absolute difference of logits.
        largest: the largest absolute logit of PyTorch.
        noise: the difference of PyTorch's logits from those in float64; not measured, and 0, if `difference` is within
            LOGIT_TOLERANCE.
        disagreements: number of images with another top-1 class.
    """

    images: int
    difference: float
    largest: float
    noise: float
    disagreements: int

    @property
    def passed(self) -> bool:
        """True if the exported model can replace the one in PyTorch; never with logits that are not finite."""
        near = self.difference < LOGIT_TOLERANCE or self.difference <= OF_NOISE * self.noise
        return near and self.disagreements == 0


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of an export.

    Attributes:
        name: of the winner's recipe, or of the published row.
        file: the exported file, if the model passed.
        mib: its size.
        parity: its comparison with PyTorch.
    """

    name: str
    file: Path
    mib: float
    parity: Parity


def export(source: Path, recipe: str | None = None, output: Path | None = None) -> Exported:
    """Export a trained model and compare it with PyTorch on the images of its search; write it only if it passes.

    Args:
        source: an experiment, for its winner, or the folder of a winner or of a published row in it.
        recipe: the recipe whose winner to take from an experiment; None for the winner of all.
        output: the file, EXPERIMENT-NAME.onnx in the working directory if None.

    Raises:
        InputError: there is no such model, it cannot be exported, its images are no longer there, the extra is not
            installed, or the file cannot be written.
    """
    trained = ModelFolder.find(source, recipe)
    name, card = trained.name, trained.card
    if not trained.is_network:
        raise InputError(
            f"{name} cannot be exported: it is no network, but the training images themselves; {_way_out(trained)}"
        )
    output = output or Path(f"{trained.folder.parent.parent.name}-{name}.onnx")
    if output.suffix != ".onnx":
        raise InputError(f"--output {output}: must end in .onnx, as toprung predict tells files by it")
    images, classifier = images_of(trained), trained.load()
    facts = Card(
        recipe=card.recipe,
        config=card.config,
        classes=classifier.classes,
        shape=classifier.image_shape,
        variant=classifier.variant,
        data=card.data,
        decoding=RESIZE_RULES[classifier.variant],
    )
    try:
        content = to_onnx(classifier, facts)
        parity = compare(classifier, OnnxClassifier.load(content), images)
    except InputError:
        raise
    except Exception as error:  # any error that an operator or another batch size causes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name} cannot be exported ({reason}); {_way_out(trained)}") from error
    if parity.passed:
        try:
            with whole(output.absolute()) as draft:
                draft.write_bytes(content)
        except OSError as error:
            raise InputError(f"--output {output}: {error.strerror}; choose a file that can be written") from None
    return Exported(name=name, file=output, mib=len(content) / 2**20, parity=parity)


def images_of(trained: ModelFolder) -> npt.NDArray[np.uint8]:
    """Return CHECKED images as the model sees them, uint8 (N, C, H, W), from test first, then val and train.

    Raises:
        InputError: the images are no longer there.
    """
    folder, cpu = trained.data(), torch.device("cpu")
    data = load_train(folder, cpu, resident=False)
    tested = [load_test(folder, cpu, resident=False)] if has_test(folder) else []
    images: list[npt.NDArray[np.uint8]] = []
    for split in (*tested, data.val, data.train):
        images.append(_spread(split, CHECKED - sum(map(len, images))))
    return np.concatenate(images)


def _spread(split: Split, count: int) -> npt.NDArray[np.uint8]:
    """Return `count` images spread over a split, or all of them if it has fewer."""
    images, _ = split.batch(torch.linspace(0, len(split) - 1, min(count, len(split))).long())
    return images.numpy()


def to_onnx(classifier: Classifier, card: Card) -> bytes:
    """Convert a model to ONNX with its card: uint8 (batch, C, H, W) to logits (batch, classes), in any batch size.

    Raises:
        InputError: the extra is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch imports it late, and its error names no extra
    except ImportError:
        raise InputError(f"toprung export {EXTRA}") from None
    example = torch.zeros((2, *classifier.image_shape), dtype=torch.uint8)  # with one image, the 1 would be a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own warnings; the comparison afterwards decides
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
    difference = float(np.abs(found - expected).max())
    return Parity(
        images=len(images),
        difference=difference,
        largest=float(np.abs(expected).max()),
        noise=0.0 if difference < LOGIT_TOLERANCE else _noise(classifier, batches, expected),
        disagreements=int((found.argmax(1) != expected.argmax(1)).sum()),
    )


@torch.inference_mode()
def _noise(classifier: Classifier, batches: list[npt.NDArray[np.uint8]], expected: npt.NDArray[np.float32]) -> float:
    """Return the largest difference of logits from those of the same model in float64; 0 if float64 cannot run."""
    model = deepcopy(classifier.model).double()
    try:
        exact = np.concatenate([model(torch.from_numpy(batch)).numpy() for batch in batches])
    except RuntimeError:  # a layer that insists on float32
        return 0.0
    return float(np.abs(expected - exact).max())


def _way_out(trained: ModelFolder) -> str:
    """Return a hint that names the best other network of the experiment."""
    experiment = trained.experiment
    folders = [*winner_folders(experiment), *row_folders(experiment)] if experiment else []
    models = [ModelFolder(folder=folder, experiment=experiment) for folder in folders if folder != trained.folder]
    others = [model.folder for model in models if model.is_network]
    return f"export another network: toprung export {others[0]}" if others else "no other network was tested"
