"""Checks that every recipe must pass, shared by the tests and `toprung check-recipe`.

Each check yields the faults of a recipe, one line each. Its docstring is its name. Checks do not catch errors in the
recipe's own code; `conform` does.
"""

import dataclasses
import io
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load

from search_spaces import Choice, Float, Int, Space, Training, Value, space_of
from search_spaces.shared.fine_tuning import FineTuning
from search_spaces.space.conformance import CHECKS as SPACE_CHECKS
from search_spaces.space.errors import in_a_line
from trainables.data import DataSpec, TrainData, load_train, prepare
from trainables.training.checkpoints import weights_of
from trainables.training.evaluation import evaluate
from trainables.training.iterate import EpochResult, run
from trainables.training.metrics import TIMINGS
from trainables.training.preprocess import Preprocess
from trainables.training.protocol import build_of, train_of

RELATIVE, ABSOLUTE = 1.3e-6, 1e-5
"""Tolerance between logits computed in different batches: torch.testing's for float32."""

SMALL: dict[str, dict[str, Value]] = {
    "timm_finetune": {"model": "test_resnet", "strategy": "full", "full_lr": 1e-3},
    "torchvision_finetune": {
        "model": "shufflenet_v2_x0_5",
        "strategy": "full",
        "full_lr": 1e-2,
        "lr": 1e-2,
        "batch_size": 32,
    },
    "yolo_cls": {"batch_size": 32},
}
"""Networks that train fast without pretrained weights, in place of the large default networks."""

CONTINUED: tuple[dict[str, Value], ...] = (
    {"schedule": "cosine", "optimizer": "adam", "mix": "cutmix", "policy": "trivial"},
    {"schedule": "plateau", "plateau_patience": 1, "ema": "weights", "clip_norm": 0.5, "window": 0.8},
    {"schedule": "constant", "ema": "weights", "mix": "mixup", "policy": "rand", "erasing": 0.5},
)
"""Configurations for the stop-and-resume check: every schedule, and everything that draws randomly or keeps state."""


@dataclass(frozen=True)
class Samples:
    """The data sets that recipes are checked on.

    Attributes:
        digits: 300 handwritten digits, which can be learned.
        photos: twelve small color images of two classes, the fewest that can be split.
    """

    digits: TrainData
    photos: TrainData

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Prepare both below `folder`, on the CPU."""
        rng = np.random.default_rng(0)
        for name, tint in (("day", 180), ("night", 20)):
            (folder / "source" / name).mkdir(parents=True)
            for number in range(6):
                pixels = np.clip(rng.normal(tint, 30, (5, 5, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "source" / name / f"{number}.png")
        loaded = []
        for name, spec in (
            ("digits", DataSpec(source="digits", limit=300)),
            ("photos", DataSpec(source=str(folder / "source"), image_size=5)),
        ):
            (folder / name).mkdir()
            prepare(spec, cache=folder / "cache").write(folder / name)
            loaded.append(load_train(folder / name, torch.device("cpu")))
        return cls(*loaded)


Check = Callable[[str, Samples], Iterator[str]]


def conform(recipe: str, samples: Samples) -> Iterator[tuple[str, list[str]]]:
    """Check a recipe and its space; yield the name of each check and its faults, including errors in the recipe's code.

    Raises:
        InputError: there is no such recipe, it cannot be imported, or it has no train or build.
    """
    space = space_of(recipe)
    train_of(recipe)
    build_of(recipe)
    of_space = [partial(check, space) for check in SPACE_CHECKS]
    of_training = [partial(check, recipe, samples) for check in CHECKS]
    for check in (*of_space, *of_training):
        yield (check.func.__doc__ or "").strip().rstrip("."), list(_faults(recipe, check))


def default(recipe: str, data: TrainData) -> Space:
    """Return the default of a recipe on `data`, made small."""
    space = space_of(recipe)
    return small(recipe, space.default(space.clamped(data.shape)))


def small(recipe: str, space: Space) -> Space:
    """Return a fine-tuning configuration with a small network and no pretrained weights; others are unchanged."""
    if not isinstance(space, FineTuning):
        return space
    return _with(space, {"pretrained": "no", "resolution": 32, **SMALL.get(recipe, {})})


def figures(results: list[EpochResult]) -> list[dict[str, float]]:
    """Return the figures that must be equal in two runs: those of each epoch without the timings."""
    return [{k: v for k, v in result.figures.items() if k not in TIMINGS} for result in results]


def learns(recipe: str, samples: Samples) -> Iterator[str]:
    """The default learns."""
    *_, last = run(recipe, default(recipe, samples.digits), samples.digits, epochs=8, seed=0)
    accuracy = last.val.metrics["accuracy"]
    if accuracy <= 0.3:
        yield f"it has {accuracy:.2f} of ten digits right, and chance has 0.1: raise its learning rate?"
    if not np.isfinite(last.val.loss):
        yield f"its loss on val is {last.val.loss}"


def bytes_to_logits(recipe: str, samples: Samples) -> Iterator[str]:
    """The model maps raw bytes to logits, image by image."""
    photos, space = samples.photos, default(recipe, samples.photos)
    images, _ = photos.val.batch(torch.arange(len(photos.val)))
    with torch.inference_mode():
        untrained = build_of(recipe)(space, photos.shape).eval()(images)
    if untrained.shape != (len(images), 2):
        yield f"{len(images)} images of 2 classes give {tuple(untrained.shape)}, not {(len(images), 2)}"
        return
    result = next(iter(run(recipe, space, photos, epochs=1, seed=0)))
    with torch.inference_mode():
        model = result.model.eval()
        logits = model(images)
        one_by_one = torch.cat([model(image[None]) for image in images])
    if not logits.isfinite().all():
        yield "logits are not finite"
    elif not torch.allclose(logits, one_by_one, rtol=RELATIVE, atol=ABSOLUTE):
        difference = (logits - one_by_one).abs().max()
        yield f"an image's logits depend on the others in its batch, by {difference:.1e}: is a layer not in eval mode?"


def reproducible(recipe: str, samples: Samples) -> Iterator[str]:
    """The same seed gives the same figures."""
    space = default(recipe, samples.photos)
    first, second = (figures(list(run(recipe, space, samples.photos, epochs=3, seed=7))) for _ in range(2))
    if first != second:
        yield f"{_first_difference(first, second)}: draw from torch's global generators only"


def one_last_epoch(recipe: str, samples: Samples) -> Iterator[str]:
    """Only the last epoch is marked as last, and none follows."""
    results = list(run(recipe, default(recipe, samples.photos), samples.photos, epochs=3, seed=0))
    if len(results) > 3 or not results[-1].last:
        yield f"of 3 epochs it yields {len(results)}, and the last {'says' if results[-1].last else 'does not say'} so"


def resumes(recipe: str, samples: Samples) -> Iterator[str]:
    """A training that is stopped and resumed goes on as if it had not been stopped."""
    photos = samples.photos
    for fields in CONTINUED:
        space = default(recipe, photos)
        if isinstance(space, Training):
            wanted: dict[str, Value] = {"batch_size": 3, "crop": 0.1, "dropout": 0.3, **fields}
            space = _with(space, {name: wanted[name] for name in wanted if name in space.domains()})
        whole = list(run(recipe, space, photos, epochs=4, seed=3))
        if len(whole) == 1:
            return  # yields once, so nothing lies between epochs
        halves, file = [], io.BytesIO()
        for result in run(recipe, space, photos, epochs=4, seed=3):
            halves.append(result)
            if result.epoch == 2:
                torch.save({**result.state, "model": result.model.state_dict()}, file)
                break
        torch.manual_seed(999)
        file.seek(0)
        halves += run(recipe, space, photos, epochs=4, seed=3, state=torch.load(file, weights_only=True))
        if figures(halves) != figures(whole):
            difference = _first_difference(figures(whole), figures(halves))
            yield f"{difference}: is all in Epoch.state that it continues from? ({_written(fields)})"
        if not isinstance(space, Training):
            return  # it has none of the fields


def windows(recipe: str, samples: Samples) -> Iterator[str]:
    """With a window, the network sees only that part of the image."""
    digits = samples.digits
    space = default(recipe, digits)
    if isinstance(space, Training):
        model = build_of(recipe)(dataclasses.replace(space, window=0.8), digits.shape).eval()
        layers = [layer for layer in model.modules() if isinstance(layer, Preprocess)]
        if len(layers) != 1:
            yield f"its model has {len(layers)} Preprocess layers; its first layer is one: preprocess_of(space, shape)"
        elif layers[0].output.side >= digits.shape.side:
            yield f"with window=0.8 it sees {layers[0].output.side} of {digits.shape.side} pixels a side"
        elif model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape != (2, 10):
            yield "with window=0.8 its model does not give logits (images, classes)"


def rebuilt(recipe: str, samples: Samples) -> Iterator[str]:
    """A new model with the saved weights gives the same predictions and loss."""
    digits = samples.digits
    space = default(recipe, digits)
    *_, last = run(recipe, space, digits, epochs=1, seed=0)
    model = build_of(recipe)(space, digits.shape)
    model.load_state_dict(load(weights_of(last.model)))
    again = evaluate(model, digits.val, 10)
    if abs(again.loss - last.val.loss) > 1e-6 * abs(last.val.loss) or (again.predictions != last.val.predictions).any():
        yield f"its loss is {again.loss}, and was {last.val.loss}: is all that it says in parameters and buffers?"


def corners(recipe: str, samples: Samples) -> Iterator[str]:
    """Every corner of the space trains on the smallest data."""
    photos, space, rng = samples.photos, space_of(recipe), random.Random(0)
    domains = space.clamped(photos.shape, space.domains())
    for end in ("low", "high", *["random"] * 5):
        values: dict[str, Value] = {}
        for name, domain in domains.items():
            match domain:
                case Choice(options):
                    values[name] = {"low": options[0], "high": options[-1], "random": rng.choice(options)}[end]
                case Float(low, high):
                    values[name] = {"low": low, "high": high, "random": rng.uniform(low, high)}[end]
                case Int(low, high):
                    values[name] = {"low": low, "high": high, "random": rng.randint(low, high)}[end]
        for name in ("width", *(f"{n}_{i}" for n in ("first", "channels") for i in range(1, 5))):
            if name in values:
                values[name] = min(values[name], 32)  # for speed; width has no corner of its own
        if "last_stages" in values:  # a search refuses more stages than the network has
            values["last_stages"] = min(int(values["last_stages"]), 4)
        *_, last = run(recipe, small(recipe, space.of(values)), photos, epochs=2, seed=0)
        if last.val.predictions.shape != (len(photos.val),):
            yield f"{last.val.predictions.shape} predictions of {len(photos.val)} images ({_written(values)})"


CHECKS: tuple[Check, ...] = (
    learns,
    bytes_to_logits,
    reproducible,
    one_last_epoch,
    resumes,
    windows,
    rebuilt,
    corners,
)


def _faults(recipe: str, check: Callable[[], Iterator[str]]) -> Iterator[str]:
    try:
        yield from check()
    except Exception as error:
        yield in_a_line(error, recipe)


def _with(space: Space, values: Mapping[str, Any]) -> Space:
    return dataclasses.replace(space, **values)


def _first_difference(first: list[dict[str, float]], second: list[dict[str, float]]) -> str:
    for epoch, (one, other) in enumerate(zip(first, second, strict=False), start=1):
        for name in one:
            if one[name] != other.get(name):
                return f"in epoch {epoch}, {name} is {one[name]} and then {other.get(name)}"
    return f"there are {len(first)} epochs and then {len(second)}"


def _written(values: dict[str, Value]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
