"""The results that W&B shows: tables, a confusion matrix, the figures of the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from tune.experiment.experiment import Experiment
from tune.experiment.report_json import Report
from tune.experiment.trial_record import TrialRecord
from tune.reporting.leaderboard import leaderboard


def leaderboard_table(report: Report) -> wandb.Table:
    """Return the recipes by rank, with the results of their finals."""
    board = leaderboard(report)
    first, *others = (column.name for column in board.columns)
    measured = [f"test_{first}{end}" for end in ("", "_std", "_low", "_high")] + [f"test_{name}" for name in others]
    table = wandb.Table(columns=["rank", "recipe", "best_trial", "val", *measured, "seeds", "config"])
    for row in board.rows:
        metrics = row.test.metrics if row.test else {}
        main = metrics.get(first)
        table.add_data(
            row.place,
            row.recipe,
            row.best_trial,
            row.val,
            *((main.mean, main.std, main.low, main.high) if main else (None, None, None, None)),
            *(metrics[name].mean if name in metrics else None for name in others),
            len(row.test.seeds) if row.test else 0,
            json.dumps(row.config),
        )
    return table


def confusion(final: Path, classes: list[str]) -> Any:
    """Return the confusion matrix of a final on test."""
    labels, predictions = (np.load(final / f"{name}.npy") for name in ("labels", "predictions"))
    return wandb.plot.confusion_matrix(
        y_true=labels.tolist(), preds=predictions.tolist(), class_names=classes, title="test"
    )


def curves(final: Path, classes: list[str]) -> dict[str, Any]:
    """Return one-against-all curves of each class in test: precision and recall, true and false positive rate.

    W&B takes the columns of probabilities for the classes that it meets. Classes without images would shift the others,
    and are left out. Returns nothing if test has only one class.
    """
    present, labels = np.unique(np.load(final / "labels.npy"), return_inverse=True)
    if len(present) == 1:
        return {}
    probabilities = np.exp(np.load(final / "log_probabilities.npy")[:, present].astype(np.float64))
    given = labels.tolist(), probabilities.tolist(), [classes[label] for label in present]
    return {
        "test/precision_recall": wandb.plot.pr_curve(*given, title="test"),
        "test/roc": wandb.plot.roc_curve(*given, title="test"),
    }


def per_class(final: Path, classes: list[str]) -> wandb.Table:
    """Return precision, recall, F1 and support of each class on test."""
    from tune.reporting.results import of_images

    labels, predictions = (np.load(final / f"{name}.npy") for name in ("labels", "predictions"))
    figures, _ = of_images(labels, predictions, classes)
    columns = ["precision", "recall", "f1", "support"]
    table = wandb.Table(columns=["class", *columns])
    for name in classes:
        table.add_data(name, *(float(getattr(figures[name], column)) for column in columns))
    return table


def figures_of(experiment: Experiment, records: list[TrialRecord]) -> dict[str, wandb.Plotly]:
    """Return the search figures of the page: which fields matter, and all trials as lines through them, by recipe."""
    from tune.reporting.report import search_figures

    return {name: wandb.Plotly(figure) for name, figure in search_figures(experiment, records).items()}
