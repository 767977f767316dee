"""The curves that W&B is shown of a final, and the figures of a search."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score

from tests.tune.reporting.stories import Story
from tune.tracking.results import curves, figures_of


def final(folder: Path, labels: NDArray[np.int64], shift: float) -> NDArray[np.float64]:
    """Write what a final keeps of its test images, and return its probabilities of 4 classes."""
    logits = np.random.default_rng(0).normal(size=(len(labels), 4))
    logits[np.arange(len(labels)), labels] += shift
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "log_probabilities.npy", np.log(probabilities).astype(np.float16))
    return probabilities


def test_each_class_of_test_has_curves_of_its_own_probabilities(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).choice([0, 2, 3], 400)  # no image of the second class
    probabilities = final(tmp_path, labels, 1.5)
    drawn = curves(tmp_path, ["ant", "bee", "cat", "dog"])
    for label, name in ((0, "ant"), (2, "cat"), (3, "dog")):
        rows = [row[1:] for row in drawn["test/roc"].table.data if row[0] == name]
        false, true = map(np.array, zip(*rows, strict=True))
        area = roc_auc_score(labels == label, probabilities[:, label])
        assert np.trapezoid(true, false) == pytest.approx(area, abs=0.01)
        rows = [row[1:] for row in drawn["test/precision_recall"].table.data if row[0] == name]
        precision, recall, _ = precision_recall_curve(labels == label, probabilities[:, label])
        assert [row[0] for row in rows] == pytest.approx([precision[recall >= row[1]].max() for row in rows], abs=0.01)
    assert {row[0] for row in drawn["test/roc"].table.data} == {"ant", "cat", "dog"}


def test_a_search_shows_which_fields_matter_and_lines_through_them(tmp_path: Path) -> None:
    story = Story.begin(tmp_path, recipes=("mlp", "knn"), trials=20)
    for number in range(12):
        story.trial("mlp", [0.5 + number / 50])
    story.trial("knn", [0.5])
    shown = figures_of(story.experiment, story.study.records)
    assert set(shown) == {"importance/mlp", "parallel/mlp"}, "one trial of kNN says nothing"


def test_one_class_alone_has_no_curves(tmp_path: Path) -> None:
    final(tmp_path, np.full(20, 2), 0.0)
    assert curves(tmp_path, ["ant", "bee", "cat", "dog"]) == {}
