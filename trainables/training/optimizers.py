"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Callable, Iterable, Sequence

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from search_spaces.shared.training import Training
from trainables.training.metrics import Metrics

Parts = Sequence[tuple[Iterable[nn.Parameter], float]]
"""Groups of parameters, each with its learning rate."""


def optimizer_of(parts: Parts, space: Training) -> optim.Optimizer:
    """Return SGD with Nesterov momentum, AdamW, or Adam with L2 decay; norms and biases decay only on request."""
    decay_of_others = space.weight_decay if space.decayed == "all" else 0.0
    groups = []
    for parameters, lr in parts:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        weights, others = ([p for p in trained if (p.ndim > 1) == matrices] for matrices in (True, False))
        groups.append({"params": weights, "lr": lr, "weight_decay": space.weight_decay})
        groups.append({"params": others, "lr": lr, "weight_decay": decay_of_others})
    if space.optimizer == "sgd":
        return optim.SGD(groups, lr=space.lr, momentum=space.momentum, nesterov=space.momentum > 0)
    if space.optimizer == "adam":
        return optim.Adam(groups, lr=space.lr)
    return optim.AdamW(groups, lr=space.lr)


class Schedule:
    """A learning-rate schedule: constant, cosine with a linear warm-up, or reduced on a plateau.

    The first two are updated by step, the last by epoch.
    """

    def __init__(self, optimizer: optim.Optimizer, space: Training, steps: int) -> None:
        self._by_epoch = space.schedule == "plateau"
        self._scheduler: LambdaLR | ReduceLROnPlateau
        if self._by_epoch:
            self._scheduler = ReduceLROnPlateau(
                optimizer, mode="max", factor=space.plateau_factor, patience=space.plateau_patience
            )
        else:
            warmup = round(space.warmup * steps)
            self._scheduler = LambdaLR(optimizer, cosine(warmup, steps) if space.schedule == "cosine" else constant)

    def step(self) -> None:
        """Update the learning rate after an optimizer step."""
        if isinstance(self._scheduler, LambdaLR):
            self._scheduler.step()

    def epoch(self, val: Metrics) -> None:
        """Update the learning rate after an epoch; a plateau is one of val accuracy."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(val["accuracy"])

    def state(self) -> dict[str, object]:
        """Return the state for `load`, without functions, as these follow from the configuration."""
        return {k: v for k, v in self._scheduler.state_dict().items() if k != "lr_lambdas"}

    def load(self, state: dict[str, object]) -> None:
        """Continue from `state`."""
        if isinstance(self._scheduler, LambdaLR):
            state = {**state, "lr_lambdas": [None]}
        self._scheduler.load_state_dict(state)


def constant(step: int) -> float:
    """Return the factor 1 at every step, for a constant learning rate."""
    return 1.0


def cosine(warmup: int, steps: int) -> Callable[[int], float]:
    """Return a factor that rises linearly over `warmup` steps, then falls by half a cosine to 0 at `steps`.

    The rise starts near 0.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor
