"""The mean of several models' probabilities as one classifier."""

from pathlib import Path

import numpy as np
import pytest

from tests.tune.reporting.stories import Story
from tune.finals.ensembles import Ensemble, averaged, ensembles_of


def test_probabilities_are_averaged_and_not_their_logarithms() -> None:
    ours = np.array([[0.9, 0.1], [0.5, 0.5]])
    theirs = np.array([[0.2, 0.8], [0.5, 0.5]])
    mean = averaged(np.log(each).astype(np.float16) for each in (ours, theirs))
    assert np.exp(mean) == pytest.approx((ours + theirs) / 2, abs=1e-3)
    certain = np.array([[0.0, -60000.0]], dtype=np.float16)
    assert np.exp(averaged([certain, certain[:, ::-1]])) == pytest.approx(np.array([[0.5, 0.5]]))


def test_models_that_err_on_different_images_are_better_together(tmp_path: Path) -> None:
    story = Story.begin(tmp_path)
    knn, mlp = story.trial("knn", [0.9]), story.trial("mlp", [0.9])
    story.final(knn, seed=0, val=0.9, right=30)
    for seed, right in enumerate((28, 40, 40)):
        story.final(mlp, seed=seed, val=0.9, right=right)
    best = story.finalists(knn, mlp)
    seeds, everything = ensembles_of([[each] for each in best])
    assert (seeds.models, everything.models) == ({"mlp": 3}, {"knn": 1, "mlp": 3})
    assert seeds.on_test().metrics["accuracy"] == 1.0, "two of three are right on every image"
    assert everything.on_val().metrics["accuracy"] == seeds.on_val().metrics["accuracy"]
    assert ensembles_of([best[:1]]) == []
    (alone,) = ensembles_of([best[1:]])
    assert alone == Ensemble.of([best[1]])


def test_all_finalists_of_a_recipe_have_a_vote(tmp_path: Path) -> None:
    story = Story.begin(tmp_path)
    knn, first, second = story.trial("knn", [0.9]), story.trial("mlp", [0.9]), story.trial("mlp", [0.8])
    for trial in (knn, first, second):
        story.final(trial, seed=0, val=0.9, right=30)
    own, everything = ensembles_of([story.finalists(knn), story.finalists(first, second)])
    assert (own.models, everything.models) == ({"mlp": 2}, {"knn": 1, "mlp": 2})


def test_the_loss_is_that_of_the_mean(tmp_path: Path) -> None:
    story = Story.begin(tmp_path)
    mlp = story.trial("mlp", [0.9])
    for seed, right in enumerate((0, 40)):
        story.final(mlp, seed=seed, val=0.9, right=right)
    (both,) = ensembles_of([story.finalists(mlp)])
    assert both.on_test().loss == pytest.approx(-np.log((0.8 + 0.1) / 2), abs=1e-3)
