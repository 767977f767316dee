"""The W&B log of an epoch, the same for trials of a search and of a sweep."""

from collections.abc import Mapping

from trainables.training.metric_names import VAL_METRICS

BEST = "best"
"""The key of the search metric's best-so-far value, which rungs and sweeps compare."""


def row(epoch: int, figures: Mapping[str, float], best: float | None) -> dict[str, float]:
    """Return an epoch's log in W&B's sections: train/loss, val/accuracy. Figures of neither keep their names."""
    named = {}
    for name, value in figures.items():
        split, _, rest = name.partition("_")
        named[f"train/{rest}" if split == "train" else f"val/{name}" if name in VAL_METRICS else name] = value
    return {**named, "epoch": epoch, **({} if best is None else {BEST: best})}
