import dataclasses

import pytest
import torch

from search_spaces import DataShape
from search_spaces.mlp import MLP
from trainables._augment import augmentation
from trainables._data import TrainData
from trainables._fit import class_weights, order
from trainables._optim import Schedule, cosine, optimizer_of
from trainables._preprocess import Preprocess
from trainables._protocol import train_of
from trainables._run import run
from trainables.mlp import build

GREY = DataShape(samples=10, channels=1, height=8, width=8, classes=2)
COLOUR = dataclasses.replace(GREY, channels=3)
STILL = {"rotation": 0.0, "crop": 0.0}


def uneven(digits: TrainData) -> TrainData:
    """The digits with nine of ten images of the classes from 5 on left out."""
    kept = [i for i, label in enumerate(digits.train.labels.tolist()) if label < 5 or i % 10 == 0]
    train = digits.train.__class__.__new__(digits.train.__class__)
    train.__dict__ |= digits.train.__dict__
    train.labels = digits.train.labels[kept]
    train.__dict__["_rows"] = digits.train._rows[kept]
    train.__dict__["_images"] = digits.train._images[kept]  # type: ignore[index]
    return dataclasses.replace(digits, train=train)


def test_shuffled_batches_hold_every_image_once(digits: TrainData) -> None:
    batches = list(order(digits, MLP(batch_size=64)))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(digits.train)))
    assert all(len(batch) <= 64 for batch in batches)


def test_no_batch_has_a_single_image(digits: TrainData) -> None:
    assert len(digits.train) == 300
    assert [len(batch) for batch in order(digits, MLP(batch_size=23))][-1] == 24  # 300 = 13 x 23 + 1


def test_balanced_sampling_makes_classes_equally_frequent(digits: TrainData) -> None:
    data = uneven(digits)
    drawn = torch.cat([torch.cat(list(order(data, MLP(sampling="balanced")))) for _ in range(30)])
    counts = torch.bincount(data.train.labels[drawn]).float()
    assert counts.max() / counts.min() < 1.5
    assert torch.bincount(data.train.labels).float().max() / torch.bincount(data.train.labels).min() > 5


def test_class_weights_are_inverse_to_frequency_with_mean_one_over_images(digits: TrainData) -> None:
    data = uneven(digits)
    weights = class_weights(data)
    counts = torch.bincount(data.train.labels).float()
    torch.testing.assert_close(weights * counts, torch.full((10,), len(data.train) / 10))
    assert weights[data.train.labels].mean().item() == pytest.approx(1.0)


def test_class_weights_change_the_training(digits: TrainData) -> None:
    data = uneven(digits)
    recall = {}
    for weights in ("none", "balanced"):
        *_, last = run("mlp", MLP(class_weights=weights, lr=5e-4), data, epochs=8, seed=0)
        recall[weights] = last.val.metrics["macro_recall"]
    assert recall["balanced"] > recall["none"]


def test_without_augmentation_pixels_stay_as_they_are() -> None:
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(augmentation(MLP(**STILL), GREY)(images), images.float())


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize(
    "fields", [{"flip": "horizontal"}, {"rotation": 15.0}, {"crop": 0.25}, {"jitter": 0.4}], ids=lambda f: next(iter(f))
)
def test_augmentation_varies_each_image_by_itself_within_the_range_of_pixels(
    shape: DataShape, fields: dict[str, float | str]
) -> None:
    torch.manual_seed(0)
    image = torch.randint(60, 200, (1, shape.channels, 8, 8), dtype=torch.uint8)
    varied = augmentation(MLP(**{**STILL, **fields}), shape)(image.repeat(16, 1, 1, 1))  # type: ignore[arg-type]
    assert varied.shape == (16, shape.channels, 8, 8)
    assert varied.min() >= 0
    assert varied.max() <= 255
    assert len({tuple(v.flatten().tolist()) for v in varied}) > 1
    if "flip" in fields:
        assert all(torch.equal(v, image[0].float()) or torch.equal(v, image[0].flip(-1).float()) for v in varied)


def test_rotation_keeps_within_its_degrees() -> None:
    """A horizontal bar in the middle stays near the horizontal axis up to 15 degrees."""
    torch.manual_seed(0)
    bar = torch.zeros(64, 1, 33, 33, dtype=torch.uint8)
    bar[:, :, 16, :] = 255
    turned = augmentation(MLP(rotation=15.0, crop=0.0), dataclasses.replace(GREY, height=33, width=33))(bar)
    rows = torch.arange(33)[:, None]
    angle_limit = 16 * torch.tan(torch.deg2rad(torch.tensor(16.0))) + 1
    outside = turned[:, 0] * ((rows - 16).abs() > angle_limit)
    assert outside.max() < 1
    assert turned[:, 0, 16 - 3, :].max() > 10  # it did turn


def test_cosine_warms_up_and_ends_at_zero() -> None:
    factor = cosine(warmup=10, steps=100)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(1 / 11)
    assert max(values) == values[10] == 1.0
    assert values[100] == pytest.approx(0.0)
    assert sorted(values[10:], reverse=True) == values[10:]


def test_a_plateau_of_val_accuracy_lowers_the_rate() -> None:
    space = MLP(schedule="plateau", plateau_factor=0.5, plateau_patience=1, lr=0.1)
    optimizer = optimizer_of(build(space, GREY), space)
    schedule = Schedule(optimizer, space, steps=10)
    rates = []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.6):
        schedule.epoch({"accuracy": accuracy})
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05]


def test_norms_and_biases_are_not_decayed() -> None:
    decayed, free = optimizer_of(build(MLP(), GREY), MLP()).param_groups
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert (decayed["weight_decay"], free["weight_decay"]) == (MLP().weight_decay, 0.0)


def test_preprocessing_normalises_the_train_split_and_resizes_others(digits: TrainData) -> None:
    layer = Preprocess(digits.shape)
    layer.measure(digits.train)
    images, _ = digits.train.batch(torch.arange(len(digits.train)))
    normal = layer(images)
    assert normal.mean().item() == pytest.approx(0, abs=1e-3)
    assert normal.std().item() == pytest.approx(1, abs=1e-3)
    assert layer(torch.zeros(2, 1, 20, 30, dtype=torch.uint8)).shape == (2, 1, 8, 8)


def test_a_diverging_loss_ends_the_run_and_is_said(digits: TrainData) -> None:
    space = MLP(optimizer="sgd", lr=0.1, momentum=0.99, norm="none", schedule="constant", depth=4, width=1024)
    object.__setattr__(space, "lr", 1e6)  # outside the domain: nothing inside diverges on digits
    results = list(run("mlp", space, digits, epochs=10, seed=0))
    assert results[-1].diverged
    assert results[-1].last
    assert len(results) < 10
    assert not any(result.diverged for result in results[:-1])


def test_closing_a_run_early_closes_the_recipe(digits: TrainData) -> None:
    results = run("mlp", MLP(), digits, epochs=5, seed=0)
    next(results)
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(results)


def test_an_unknown_recipe_has_no_train() -> None:
    with pytest.raises(ValueError, match="no recipe 'resnet'"):
        train_of("resnet")
