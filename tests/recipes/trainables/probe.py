"""A recipe for tests that trains nothing and behaves as configured."""

import os
import signal
from collections.abc import Generator

import torch
from torch import Tensor, nn

from search_spaces import DataShape
from search_spaces.probe import Probe  # type: ignore[import-not-found]
from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State


class Guess(nn.Module):
    """A classifier that always predicts class 0, with a given confidence."""

    def __init__(self, skill: float, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(skill, 0, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def build(space: Probe, shape: DataShape) -> nn.Module:
    return Guess(space.skill, shape.classes)


def train(space: Probe, data: TrainData, *, epochs: int, state: State | None = None) -> Generator[Epoch, Metrics, None]:
    print(f"process {os.getpid()} begins")
    model = build(space, data.shape)
    if state:
        model.load_state_dict(state["model"])
    for epoch in range(state["epoch"] + 1 if state else 1, epochs + 1):
        if epoch == 2:
            if space.behaviour == "raise":
                raise ArithmeticError("as it was told") from RuntimeError(f"in process {os.getpid()}")
            if space.behaviour == "diverge":
                model.logits.data.fill_(float("nan"))
            if space.behaviour == "die" and state is None:
                os.kill(os.getpid(), signal.SIGKILL)
            if space.behaviour == "die-always":
                os.kill(os.getpid(), signal.SIGKILL)
        with torch.no_grad():
            model.logits += 0.01
        yield Epoch(
            model=model, last=epoch == epochs, train_loss=1.0, train_accuracy=0.1,
            lr=float(os.getpid()),  # tells tests which process trained
            state=lambda val, epoch=epoch: {"epoch": epoch},
        )  # fmt: skip
