"""The votes in torch are those of scikit-learn's own pipeline."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from search_spaces.knn import KNN
from trainables.data import TrainData
from trainables.training.iterate import run


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize(
    ("scale", "reduce"), [("none", "none"), ("standard", "none"), ("none", "pca"), ("standard", "pca")]
)
def test_probabilities_equal_those_of_the_pipeline(digits: TrainData, scale: str, reduce: str, weights: str) -> None:
    space = KNN(scale=scale, reduce=reduce, components=16, neighbors=7, weights=weights, smoothing=1e-3)
    (result,) = run("knn", space, digits, epochs=9, seed=0)
    steps = [StandardScaler()] * (scale == "standard") + [PCA(16, random_state=0)] * (reduce == "pca")
    pipeline = make_pipeline(*steps, KNeighborsClassifier(7, weights=weights))
    images, labels = digits.train.arrays()
    pipeline.fit(images.reshape(len(images), -1) / 255, labels)
    val, _ = digits.val.arrays()
    expected = pipeline.predict_proba(val.reshape(len(val), -1) / 255)
    with torch.inference_mode():
        log_probabilities = result.model(torch.from_numpy(val))
    votes = log_probabilities.exp().numpy() * (1 + 1e-3) - 1e-3 / 10
    np.testing.assert_allclose(votes, expected, atol=2e-3)
    assert log_probabilities.exp().sum(1).numpy() == pytest.approx(np.ones(len(val)), abs=1e-5)


def test_an_identical_image_outvotes_all_others(digits: TrainData) -> None:
    (result,) = run("knn", KNN(neighbors=20, weights="distance"), digits, epochs=1, seed=0)
    images, labels = digits.train.batch(torch.arange(100))
    assert (result.model(images).argmax(1) == labels).all()


def test_smoothing_keeps_the_loss_finite_and_the_order_of_the_votes(digits: TrainData) -> None:
    losses, predictions = [], []
    for smoothing in (1e-3, 1.0):
        (result,) = run("knn", KNN(neighbors=3, smoothing=smoothing), digits, epochs=1, seed=0)
        losses.append(result.val.loss)
        predictions.append(result.val.predictions)
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]
    assert (predictions[0] == predictions[1]).all()
