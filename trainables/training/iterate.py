"""Iteration of a recipe: evaluates each epoch on val and sends the metrics back.

A trial under Ray, a final and a replay all use this loop.
"""

import gc
import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces import Space
from trainables.data import TrainData
from trainables.training.evaluation import evaluate
from trainables.training.metrics import EpochFigures, Evaluation
from trainables.training.protocol import State, train_of


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """An evaluated epoch.

    Attributes:
        epoch: counted from 1.
        val: evaluation on the val split.
        figures: every figure by name: val metrics, train_loss, train_accuracy, lr, seconds (training and evaluation),
            loading_seconds (the part of training spent waiting for images), images_per_second (training alone),
            memory_mib (see `peak_memory`).
        last: no epoch follows.
        diverged: train or val loss is NaN or infinite.
        model, state: the contents of a checkpoint.
    """

    epoch: int
    val: Evaluation
    figures: EpochFigures
    last: bool
    diverged: bool
    model: nn.Module
    state: State


def run(
    recipe: str, space: Space, data: TrainData, *, epochs: int, seed: int, state: State | None = None
) -> Iterator[EpochResult]:
    """Train a configuration and evaluate each epoch on val; stop early if the loss diverges.

    Reproducible for one hardware, thread count and set of versions. `state` continues a training that was cut off.
    """
    torch.manual_seed(seed)
    epoch = state["epoch"] if state else 0
    training = train_of(recipe)(space, data, epochs=epochs, state=state)
    try:
        began, loaded = time.perf_counter(), data.train.seconds
        step = next(training)
        while True:
            epoch += 1
            trained, loading = time.perf_counter(), data.train.seconds - loaded
            val = evaluate(step.model, data.val, len(data.classes))
            metrics = val.metrics
            figures: EpochFigures = dict(metrics)
            if step.train_loss is not None and step.train_accuracy is not None:
                figures |= {"train_loss": step.train_loss, "train_accuracy": step.train_accuracy}
            if step.lr is not None:
                figures["lr"] = step.lr
            figures["seconds"] = time.perf_counter() - began
            figures["loading_seconds"] = loading
            figures["images_per_second"] = len(data.train) / (trained - began)
            figures["memory_mib"] = peak_memory(data.device) / 2**20
            diverged = not math.isfinite(val.loss) or not math.isfinite(step.train_loss or 0.0)
            yield EpochResult(
                epoch=epoch,
                val=val,
                figures=figures,
                last=step.last or diverged,
                diverged=diverged,
                model=step.model,
                state=step.state(metrics),
            )
            if step.last or diverged:
                return
            began, loaded = time.perf_counter(), data.train.seconds
            step = training.send(metrics)
    finally:
        training.close()


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: on a GPU, allocated since `release`; on a CPU, of the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def release(device: torch.device) -> int:
    """Free the device memory of the last model; return the bytes still allocated there (0 on a CPU)."""
    if device.type != "cuda":
        return 0
    gc.collect()  # takes a tenth of a second with torch and Ray loaded, so only on a GPU, where memory is scarce
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)
