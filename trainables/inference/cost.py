"""The cost of a trained model: parameters, operations, memory, and latency for one image."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import DataShape

DISTANCES = (torch.ops.aten.cdist, torch.ops.aten._cdist_forward, torch.ops.aten._euclidean_dist)
"""The operators of `torch.cdist` in the counter's view; the number of points decides which is used."""

WARM_UP, RUNS, LEAST_RUNS = 5, 50, 5
TIMING_LIMIT_S = 1.0
"""Time limit in seconds: timing ends with the first run beyond it, but not before LEAST_RUNS runs."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a model for one image of the stored size.

    Attributes:
        parameters: total number; values not learned by steps, such as statistics or neighbors, do not count.
        trainable: the number of parameters that were trained.
        macs: multiply-accumulates of convolutions, matrix products, attention and distances; nothing else counts.
        weights_mib: parameters and buffers in memory.
        latency_ms: median time of a forward pass of one image, from raw pixels on the device to logits.
        threads: torch's CPU threads during the timing.
    """

    parameters: int
    trainable: int
    macs: int
    weights_mib: float
    latency_ms: float
    threads: int


def cost_of(model: nn.Module, shape: DataShape) -> Cost:
    """Measure a model on the device that holds it, in evaluation mode."""
    model.eval()
    tensors = model.state_dict().values()
    parameters = list(model.parameters())
    device = next(iter(tensors)).device
    image = torch.zeros((1, shape.channels, shape.height, shape.width), dtype=torch.uint8, device=device)
    return Cost(
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        macs=count_macs(model, image),
        weights_mib=sum(tensor.nbytes for tensor in tensors) / 2**20,
        latency_ms=_latency(model, image) * 1e3,
        threads=torch.get_num_threads(),
    )


@torch.enable_grad()  # without gradients, the counter fails on a view of a parameter
def count_macs(model: nn.Module, images: torch.Tensor) -> int:
    """Count multiply-accumulates of a forward pass: half of the floating-point operations that torch counts."""
    counter = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(DISTANCES, _flops_of_distances))
    with _countable_attention(), counter:
        model(images)
    return counter.get_total_flops() // 2


@contextmanager
def _countable_attention() -> Iterator[None]:
    """Force attention by matrix products on any device, as the counter misses `nn.MultiheadAttention`'s fast path."""
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before)


def _flops_of_distances(queries: tuple[int, ...], points: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Count the operations of `torch.cdist` on shapes (queries, features) and (points, features)."""
    return 2 * queries[-2] * points[-2] * queries[-1]


@torch.inference_mode()
def _latency(model: nn.Module, image: torch.Tensor) -> float:
    """Measure the median seconds of a forward pass."""
    for _ in range(WARM_UP):
        _timed(model, image)
    times: list[float] = []
    while len(times) < LEAST_RUNS or (len(times) < RUNS and sum(times) < TIMING_LIMIT_S):
        times.append(_timed(model, image))
    return median(times)


def _timed(model: nn.Module, image: torch.Tensor) -> float:
    began = time.perf_counter()
    model(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - began


def device_name(device: torch.device) -> str:
    """Return the model of the GPU or, if the system reports it, of the CPU; else the CPU's architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
