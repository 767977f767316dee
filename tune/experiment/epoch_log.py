"""What W&B is told of an epoch, by trials of a search and of a sweep alike."""

from collections.abc import Mapping

from trainables.training.metric_names import VAL_METRICS

BEST = "best"
"""The best of the search's metric so far: what rungs compare, and sweeps."""


def row(epoch: int, figures: Mapping[str, float], best: float | None) -> dict[str, float]:
    """What is logged of an epoch, in W&B's sections: train/loss, val/accuracy; what is of neither as it is."""
    named = {}
    for name, value in figures.items():
        split, _, rest = name.partition("_")
        named[f"train/{rest}" if split == "train" else f"val/{name}" if name in VAL_METRICS else name] = value
    return {**named, "epoch": epoch, **({} if best is None else {BEST: best})}
