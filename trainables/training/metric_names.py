"""The names of the metrics, without torch, which metrics.py imports."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


VAL_METRICS = (
    "loss", "accuracy", "macro_precision", "weighted_precision", "macro_recall", "weighted_recall", "macro_f1",
    "weighted_f1",
)  # fmt: skip
"""The metrics of val that every epoch has, as `Evaluation.metrics` names them; that module imports torch."""
