"""What every recipe must do; a new one is found by its file."""

import dataclasses
import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces import Choice, Float, Int, Space, Training, Value, recipes, space_of
from trainables._checkpoint import weights_of
from trainables._data import DataSpec, TrainData, load_train, prepare
from trainables._metrics import evaluate
from trainables._preprocess import Preprocess
from trainables._protocol import build_of
from trainables._run import EpochResult, run

CPU = torch.device("cpu")
TIMINGS = {"seconds", "images_per_second", "memory_mib"}


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
"""Networks that are quick without pretrained weights stand for the large ones that the defaults name."""


QUICK = {"knn", "mlp", "plain_cnn"}


@pytest.fixture(params=[pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in recipes()])
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> TrainData:
    """Twelve small colour images of two classes: as little as can be split."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, tint in (("day", 180), ("night", 20)):
        (folder / "source" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.clip(rng.normal(tint, 30, (5, 5, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "source" / name / f"{number}.png")
    prepare(DataSpec(source=str(folder / "source"), image_size=5), cache=cache).write(folder)
    return load_train(folder, CPU)


def default(recipe: str, data: TrainData) -> Space:
    space = space_of(recipe).default(space_of(recipe).clamped(data.shape))
    return small(recipe, space)


def small(recipe: str, space: Space) -> Space:
    """A configuration of a fine-tuning recipe on a small network without pretrained weights; others as they are."""
    if recipe not in SMALL:
        return space
    return dataclasses.replace(space, pretrained="no", resolution=32, **SMALL[recipe])


def figures(results: list[EpochResult]) -> list[dict[str, float]]:
    return [{k: v for k, v in result.report.items() if k not in TIMINGS} for result in results]


def test_the_default_learns(recipe: str, digits: TrainData) -> None:
    *_, last = run(recipe, default(recipe, digits), digits, epochs=8, seed=0)
    assert last.last
    assert last.val.metrics["accuracy"] > 0.3, "the default should beat chance, 0.1, by far: raise its learning rate?"
    assert np.isfinite(last.val.loss)


def test_the_model_maps_raw_bytes_to_logits_image_by_image(recipe: str, photos: TrainData) -> None:
    result = next(iter(run(recipe, default(recipe, photos), photos, epochs=1, seed=0)))
    images, _ = photos.val.batch(torch.arange(len(photos.val)))
    assert images.dtype == torch.uint8
    logits = result.model.eval()(images)
    assert logits.shape == (len(images), 2)
    assert logits.isfinite().all()
    one_by_one = torch.cat([result.model(image[None]) for image in images])
    torch.testing.assert_close(logits, one_by_one)


def test_the_same_seed_gives_the_same_figures(recipe: str, photos: TrainData) -> None:
    space = default(recipe, photos)
    first, second = (figures(list(run(recipe, space, photos, epochs=3, seed=7))) for _ in range(2))
    assert first == second


def test_only_the_last_epoch_is_last_and_none_follows(recipe: str, photos: TrainData) -> None:
    results = list(run(recipe, default(recipe, photos), photos, epochs=3, seed=0))
    assert [result.epoch for result in results] == list(range(1, len(results) + 1))
    assert [result.last for result in results] == [False] * (len(results) - 1) + [True]


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "cosine", "optimizer": "adam", "mix": "cutmix", "policy": "trivial"},
        {"schedule": "plateau", "plateau_patience": 1, "ema": "weights", "clip_norm": 0.5, "window": 0.8},
        {"schedule": "constant", "ema": "weights", "mix": "mixup", "policy": "rand", "erasing": 0.5},
    ],
    ids=["adam-cutmix-trivial", "plateau-ema-clip-window", "ema-mixup-rand-erasing"],
)
def test_stopped_and_resumed_it_goes_on_as_if_it_had_not_been(
    recipe: str, fields: dict[str, Value], photos: TrainData
) -> None:
    space = default(recipe, photos)
    if isinstance(space, Training):
        wanted = {"batch_size": 3, "crop": 0.1, "dropout": 0.3, **fields}
        space = dataclasses.replace(space, **{name: wanted[name] for name in wanted if name in space.domains()})
    whole = list(run(recipe, space, photos, epochs=4, seed=3))
    if len(whole) == 1:
        return  # yields once: there is nothing between epochs
    halves = []
    for result in run(recipe, space, photos, epochs=4, seed=3):
        halves.append(result)
        if result.epoch == 2:
            file = io.BytesIO()
            torch.save({**result.state, "model": result.model.state_dict()}, file)
            break
    torch.manual_seed(999)
    file.seek(0)
    halves += run(recipe, space, photos, epochs=4, seed=3, state=torch.load(file, weights_only=True))
    assert figures(halves) == figures(whole)


def test_a_window_is_what_the_network_sees(recipe: str, digits: TrainData) -> None:
    space = default(recipe, digits)
    if isinstance(space, Training):
        model = build_of(recipe)(dataclasses.replace(space, window=0.8), digits.shape)
        (first,) = (layer for layer in model.modules() if isinstance(layer, Preprocess))
        assert first.output.side < digits.shape.side
        assert model.eval()(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)


def test_a_new_model_with_the_saved_weights_says_the_same(recipe: str, digits: TrainData, tmp_path: Path) -> None:
    from safetensors.torch import load

    space = default(recipe, digits)
    *_, last = run(recipe, space, digits, epochs=1, seed=0)
    model = build_of(recipe)(space, digits.shape)
    model.load_state_dict(load(weights_of(last.model)))
    again = evaluate(model, digits.val, 10)
    assert again.loss == pytest.approx(last.val.loss, rel=1e-6)
    assert (again.predictions == last.val.predictions).all()


@pytest.mark.parametrize("end", ["low", "high", "random"])
def test_every_corner_of_the_space_trains_on_the_smallest_data(recipe: str, end: str, photos: TrainData) -> None:
    space = space_of(recipe)
    rng = random.Random(0)
    for _ in range(1 if end != "random" else 5):
        values = {}
        for name, domain in space.clamped(photos.shape, space.domains()).items():
            match domain:
                case Choice(options):
                    values[name] = {"low": options[0], "high": options[-1], "random": rng.choice(options)}[end]
                case Float(low, high):
                    values[name] = {"low": low, "high": high, "random": rng.uniform(low, high)}[end]
                case Int(low, high):
                    values[name] = {"low": low, "high": high, "random": rng.randint(low, high)}[end]
        for name in ("width", *(f"{n}_{i}" for n in ("first", "channels") for i in range(1, 5))):
            if name in values:
                values[name] = min(values[name], 32)  # quick, as width has no corner of its own
        *_, last = run(recipe, small(recipe, space(**values)), photos, epochs=2, seed=0)
        assert last.val.predictions.shape == (len(photos.val),)
