import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from search_spaces import DataShape
from search_spaces.mlp import MLP
from search_spaces.plain_cnn import PlainCNN
from trainables.data import Split, TrainData
from trainables.mlp import build
from trainables.training.augmentation import augmentation
from trainables.training.checkpoints import weights_of
from trainables.training.iterate import run
from trainables.training.loop import class_weights, cross_entropy, lower_precision, order
from trainables.training.optimizers import Schedule, cosine, optimizer_of
from trainables.training.preprocess import Preprocess
from trainables.training.protocol import train_of

GREY = DataShape(samples=10, channels=1, height=8, width=8, classes=2)
COLOUR = dataclasses.replace(GREY, channels=3)
STILL = {"rotation": 0.0, "crop": 0.0}


def uneven(digits: TrainData) -> TrainData:
    """The digits with nine of ten images of the classes from 5 on left out."""
    kept = [i for i, label in enumerate(digits.train.labels.tolist()) if label < 5 or i % 10 == 0]
    images, labels = digits.train.arrays()
    return dataclasses.replace(digits, train=Split(images, labels, np.array(kept), digits.device))


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


def test_erasing_greys_a_box_of_some_images() -> None:
    torch.manual_seed(0)
    varied = augmentation(MLP(**STILL, erasing=0.5), GREY)(torch.zeros(400, 1, 8, 8, dtype=torch.uint8))
    erased = varied.flatten(1).any(1)
    assert 0.4 < erased.float().mean() < 0.6
    assert varied.unique().tolist() == [0, 127.5]
    assert 0 < (varied[erased] > 0).float().mean() < 0.4


def test_hue_turns_colours_and_keeps_greys() -> None:
    torch.manual_seed(0)
    turn = augmentation(MLP(**STILL, hue=0.2), COLOUR)
    red = torch.tensor([200, 20, 20], dtype=torch.uint8)[:, None, None].expand(16, 3, 8, 8)
    assert len(turn(red)[:, :, 0, 0].unique(dim=0)) > 10
    grey = torch.full((4, 3, 8, 8), 90, dtype=torch.uint8)
    torch.testing.assert_close(turn(grey), grey.float(), atol=0.01, rtol=0)


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
    optimizer = optimizer_of([(build(space, GREY).parameters(), space.lr)], space)
    schedule = Schedule(optimizer, space, steps=10)
    rates = []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.6):
        schedule.epoch({"accuracy": accuracy})
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05]


def step(space: MLP, digits: TrainData) -> float:
    """Return the norm of the gradient: the length of one plain SGD step over the learning rate."""
    space = dataclasses.replace(
        space, optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", batch_size=len(digits.train)
    )
    torch.manual_seed(0)
    before = nn.utils.parameters_to_vector(build(space, digits.shape).parameters()).detach()
    result = next(iter(run("mlp", space, digits, epochs=2, seed=0)))
    after = nn.utils.parameters_to_vector(result.model.parameters()).detach()
    return float((after - before).norm()) / space.lr


def test_gradients_are_clipped_by_their_norm_and_short_ones_left(digits: TrainData) -> None:
    free = step(MLP(), digits)
    assert free > 0.2
    assert step(MLP(clip_norm=0.1), digits) == pytest.approx(0.1, rel=1e-2)
    assert step(MLP(clip_norm=10.0), digits) == pytest.approx(free)


def test_momentum_may_be_zero_and_adam_decays_by_l2() -> None:
    space = MLP(optimizer="sgd", momentum=0.0)
    assert optimizer_of([(build(space, GREY).parameters(), space.lr)], space).param_groups[0]["nesterov"] is False
    adam = MLP(optimizer="adam", weight_decay=0.1)
    optimizer = optimizer_of([(build(adam, GREY).parameters(), adam.lr)], adam)
    assert type(optimizer) is torch.optim.Adam
    weight = optimizer.param_groups[0]["params"][0]
    with torch.no_grad():
        weight.fill_(1.0)
    weight.grad = torch.full_like(weight, -0.1)
    optimizer.step()
    assert torch.equal(weight, torch.ones_like(weight))  # gradient and decay cancel before the step is normalised


def test_label_smoothing_spreads_a_part_of_each_target_over_the_classes() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    log = logits.log_softmax(1)
    by_hand = -(0.8 * log[torch.arange(6), labels] + 0.2 * log.mean(1)).mean()
    torch.testing.assert_close(cross_entropy(logits, labels, None, 0.2), by_hand)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_whole_labels_is_the_same_written_as_targets(weighted: bool) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0]) if weighted else None
    targets = nn.functional.one_hot(labels, 4).float()
    torch.testing.assert_close(
        cross_entropy(logits, targets, weights, 0.1), cross_entropy(logits, labels, weights, 0.1)
    )


def test_a_cpu_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    with lower_precision(torch.device("cpu")):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_that_has_bfloat16_trains_in_it() -> None:
    cuda = torch.device("cuda")
    wanted = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    with lower_precision(cuda):
        assert nn.Linear(2, 2, device=cuda)(torch.ones(1, 2, device=cuda)).dtype == wanted


def test_convolutions_train_channels_last_and_are_saved_as_ever(digits: TrainData) -> None:
    result = next(iter(run("plain_cnn", PlainCNN(width=8), digits, epochs=1, seed=0)))
    convs = [layer for layer in result.model.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels > 1]
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convs)
    saved = load(weights_of(result.model))
    assert all(tensor.is_contiguous() for tensor in saved.values())


def test_norms_and_biases_are_not_decayed_by_default() -> None:
    decayed, free = optimizer_of([(build(MLP(), GREY).parameters(), MLP().lr)], MLP()).param_groups
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert (decayed["weight_decay"], free["weight_decay"]) == (MLP().weight_decay, 0.0)


def test_norms_and_biases_are_decayed_where_that_is_asked_for() -> None:
    space = MLP(decayed="all", weight_decay=0.02)
    groups = optimizer_of([(build(space, GREY).parameters(), space.lr)], space).param_groups
    assert [group["weight_decay"] for group in groups] == [0.02, 0.02]


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
