"""The cost of a model, compared with counts by hand."""

import pytest
import torch
from torch import nn

from search_spaces import DataShape
from search_spaces.knn import KNN
from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.inference.cost import cost_of, count_macs
from trainables.training.iterate import run

SHAPE = DataShape(samples=100, channels=3, height=8, width=8, classes=5)


class Network(nn.Module):
    """A convolution of 3 to 4 channels with padding, and a linear layer, on raw pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 5)
        self.register_buffer("count", torch.zeros(10, dtype=torch.int64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(images.float()).flatten(1))  # type: ignore[no-any-return]


def test_a_network_costs_what_it_costs_by_hand() -> None:
    model = Network()
    model.convolution.requires_grad_(False)
    cost = cost_of(model, SHAPE)
    head, convolution = 4 * 64 * 5 + 5, 3 * 4 * 9 + 4
    assert (cost.parameters, cost.trainable) == (head + convolution, head)
    assert cost.macs == 64 * 3 * 4 * 9 + 4 * 64 * 5
    assert cost.weights_mib == (4 * (head + convolution) + 80) / 2**20
    assert 0 < cost.latency_ms < 1000
    assert cost.threads == 1


class Prior(nn.Module):
    """A model with the same output for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def test_a_model_whose_output_is_a_view_of_its_parameters_is_measured() -> None:
    cost = cost_of(Prior(), SHAPE)
    assert (cost.parameters, cost.macs) == (5, 0)


def test_attention_is_counted_also_where_torch_has_a_fast_path() -> None:
    tokens, width = 10, 32
    attention = nn.MultiheadAttention(width, 4, batch_first=True).eval()

    class Self(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return attention(images, images, images, need_weights=False)[0]  # type: ignore[no-any-return]

    projections, products = 4 * tokens * width * width, 2 * tokens * tokens * width
    assert torch.backends.mha.get_fastpath_enabled()
    assert count_macs(Self(), torch.zeros(1, tokens, width)) == projections + products
    assert torch.backends.mha.get_fastpath_enabled()


def test_of_nearest_neighbours_the_distances_are_counted(digits: TrainData) -> None:
    (step,) = run("knn", KNN(), digits, epochs=1, seed=0)
    cost = cost_of(step.model, digits.shape)
    assert cost.macs == len(digits.train) * 64
    assert (cost.parameters, cost.trainable) == (0, 0)


def test_an_average_of_weights_counts_as_trained(digits: TrainData) -> None:
    plain, averaged = (
        cost_of(next(iter(run("mlp", space, digits, epochs=1, seed=0))).model, digits.shape)
        for space in (MLP(), MLP(ema="weights"))
    )
    assert averaged.trainable == plain.trainable == plain.parameters > 0


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_weights_and_statistics_as_they_were(training: bool) -> None:
    model = nn.Sequential(Network(), nn.BatchNorm1d(5)).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cost_of(model, SHAPE)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
