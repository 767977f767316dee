"""The W&B log of an epoch, the same for trials of a search and of a sweep."""

from trainables.training.metrics import EpochFigures, metric_names

BEST = "best"
"""The key of the search metric's best-so-far value, which rungs and sweeps compare."""


def row(epoch: int, figures: EpochFigures, best: float | None) -> dict[str, float]:
    """Return an epoch's log in W&B's sections: train/loss, val/accuracy. Figures of neither keep their names."""
    metrics, named = metric_names(), {}
    for name, value in figures.items():
        split, _, rest = name.partition("_")
        named[f"train/{rest}" if split == "train" else f"val/{name}" if name in metrics else name] = value
    return {**named, "epoch": epoch, **({} if best is None else {BEST: best})}
