"""The exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A model whose weights follow those of the model in training (Polyak and Juditsky, 1992).

    Batch norm statistics are averaged like weights; integers are copied. The decay starts low: it is min(decay, (1 + n)
    / (10 + n)) at update n, as in TensorFlow's average. So short trainings soon forget their initial weights.

    Attributes:
        model: the averaged model; it shares no tensors with the model in training.
        updates: number of updates so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`, which has just taken a step."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        averages: list[Tensor] = []
        weights: list[Tensor] = []
        pairs = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        for average, weight in pairs:
            if average.is_floating_point():
                averages.append(average)
                weights.append(weight)
            else:
                average.copy_(weight)
        get_ema_multi_avg_fn(decay)(averages, weights, self.updates)  # type: ignore[no-untyped-call]
