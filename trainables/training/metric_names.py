"""The names of the metrics, without importing torch as metrics.py does."""

VAL_METRICS = (
    "loss", "accuracy", "macro_precision", "weighted_precision", "macro_recall", "weighted_recall", "macro_f1",
    "weighted_f1",
)  # fmt: skip
"""The val metrics of every epoch, named as in `Evaluation.metrics`, whose module imports torch."""
