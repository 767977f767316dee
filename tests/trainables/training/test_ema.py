import pytest
import torch
from torch import nn

from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.mlp import build
from trainables.training.ema import Average
from trainables.training.iterate import run


def test_the_average_is_that_computed_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average = Average(model, decay=0.2)
    nn.init.constant_(model.weight, 3.0)
    average.update(model)  # decay 2 / 11, as the first updates forget fast
    first = 1.0 * 2 / 11 + 3.0 * 9 / 11
    assert average.model.weight.item() == pytest.approx(first)  # type: ignore[union-attr]
    nn.init.constant_(model.weight, 5.0)
    average.update(model)  # 3 / 12 would be more than the 0.2 that was asked for
    assert average.model.weight.item() == pytest.approx(first * 0.2 + 5.0 * 0.8)  # type: ignore[union-attr]
    assert model.weight.item() == 5.0


def test_statistics_of_batch_norm_are_averaged_and_counts_copied() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, decay=0.99)
    model.running_mean.fill_(11.0)  # type: ignore[union-attr]
    model.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    average.update(model)
    assert average.model.running_mean.item() == pytest.approx(9.0)  # type: ignore[union-attr, operator]
    assert average.model.num_batches_tracked == 7


def test_the_average_is_evaluated_and_training_goes_on_from_the_raw_weights(digits: TrainData) -> None:
    space = MLP(ema="weights", batch_size=len(digits.train))  # one step an epoch
    torch.manual_seed(0)
    begin = build(space, digits.shape).state_dict()
    averaged = next(iter(run("mlp", space, digits, epochs=3, seed=0)))
    plain = next(iter(run("mlp", MLP(batch_size=len(digits.train)), digits, epochs=3, seed=0)))
    name = "2.weight" if "2.weight" in begin else "3.weight"
    raw = averaged.state["training"][name]
    torch.testing.assert_close(raw, plain.model.state_dict()[name])
    expected = begin[name] * 2 / 11 + raw * 9 / 11
    torch.testing.assert_close(averaged.model.state_dict()[name], expected)
