"""Paired comparisons: hand-made cases, and how often they err where the truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from tune.finals.comparisons import compare, corrected, holm, mid_p_mcnemar
from tune.finals.intervals import bootstrap, wilson


def test_mid_p_is_the_exact_p_less_half_of_what_is_as_likely_as_what_was_seen() -> None:
    # the example of Fagerland, Lydersen and Laake 2013, with 1 and 7 discordant pairs: exact p .070, mid-p .039
    assert mid_p_mcnemar(1, 7) == mid_p_mcnemar(7, 1) == pytest.approx(binomtest(1, 8).pvalue - 8 / 2**8)
    assert mid_p_mcnemar(1, 7) == pytest.approx(0.0391, abs=5e-5)
    assert mid_p_mcnemar(0, 0) == 1
    assert mid_p_mcnemar(2, 2) == pytest.approx(1 - 6 / 16 / 2)


def test_mid_p_mcnemar_rejects_as_often_as_it_says_where_there_is_no_difference() -> None:
    """1,000 images, of which a tenth is told apart by chance alone."""
    rng = np.random.default_rng(0)
    discordant = rng.binomial(1000, 0.1, size=4000)
    rejected = np.mean(
        [
            mid_p_mcnemar(ours, n - ours) < 0.05
            for n, ours in zip(discordant, rng.binomial(discordant, 0.5), strict=True)
        ]
    )
    assert 0.035 < rejected < 0.06


@pytest.mark.parametrize("n", [500, 2000])
@pytest.mark.parametrize("accuracy", [0.7, 0.9])
def test_95_of_100_intervals_of_single_models_hold_the_true_accuracy(n: int, accuracy: float) -> None:
    right, times = np.unique(np.random.default_rng(1).binomial(n, accuracy, size=2000), return_counts=True)
    ends = [wilson(int(count), n) for count in right]
    covered = sum(t for end, t in zip(ends, times, strict=True) if end.low <= accuracy <= end.high) / 2000
    assert 0.93 < covered < 0.97


def images(rng: np.random.Generator, accuracy: float, n: int) -> NDArray[np.float64]:
    """Draw the probability that models are right on each of n images (n,); most are easy or hard for all."""
    return rng.beta(accuracy * 0.4, (1 - accuracy) * 0.4, size=n)


def said(rng: np.random.Generator, easy: NDArray[np.float64], seeds: int, spread: float = 0.0) -> NDArray[np.int64]:
    """Classes that models say of images of class 0; their true accuracies have a standard deviation of `spread`."""
    lucky = rng.normal(0, spread, size=(seeds, 1)) * easy * (1 - easy) / (easy * (1 - easy)).mean()
    n = len(easy)
    return (rng.random((seeds, n)) > easy + lucky).astype(np.int64)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_95_of_100_intervals_over_images_and_seeds_hold_the_true_accuracy(spread: float) -> None:
    rng, covered = np.random.default_rng(2), []
    for accuracy in (0.7, 0.9):
        for n in (500, 2000):
            for _ in range(250):
                found = bootstrap(np.zeros(n, np.int64), said(rng, images(rng, accuracy, n), 3, spread), 2)["accuracy"]
                covered.append(found.low <= accuracy <= found.high)
            assert 0.91 < np.mean(covered[-250:]) < 0.99
    assert 0.93 < np.mean(covered) < 0.97


def test_a_better_recipe_is_found_and_one_as_good_is_not() -> None:
    rng, labels = np.random.default_rng(3), np.zeros(1000, np.int64)
    easy = images(rng, 0.9, 1000)
    better = compare(labels, said(rng, easy + 0.4 * (1 - easy), 3), said(rng, easy, 3))
    assert better.difference.low > 0
    assert 0 < better.p < 0.05
    same = compare(labels, said(rng, easy, 3), said(rng, easy, 1))
    assert same.difference.low < 0 < same.difference.high
    assert same.p > 0.05


def test_what_is_compared_is_the_accuracy_on_the_same_images() -> None:
    labels = np.arange(100) % 5
    ours, theirs = np.tile(labels, (2, 1)), labels[None].copy()
    theirs[0, :10] = 9
    ours[1, 0] = 9
    found = compare(labels, ours, theirs)
    assert found.difference.mean == pytest.approx(0.995 - 0.9)
    reverse = compare(labels, theirs, ours)
    assert reverse.difference.mean == pytest.approx(0.9 - 0.995)
    assert found.p == pytest.approx(2 / 2001)
    equal = compare(labels, theirs, theirs)
    assert (equal.difference.mean, equal.difference.low, equal.difference.high, equal.p) == (0, 0, 0, 1)


def test_rarely_is_a_difference_found_where_recipes_are_as_good() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(400):
        easy = images(rng, 0.9, 500)
        found.append(compare(np.zeros(500, np.int64), said(rng, easy, 3, 0.01), said(rng, easy, 3, 0.01)).p < 0.05)
    assert 0.02 < np.mean(found) < 0.07


def test_an_interval_among_several_holds_0_just_where_p_says_so() -> None:
    rng, labels = np.random.default_rng(5), np.zeros(400, np.int64)
    told = []
    for _ in range(40):
        easy = images(rng, 0.9, 400)
        found = {str(k): compare(labels, said(rng, easy - 0.02 * k, 3), said(rng, easy, 3)) for k in range(4)}
        for name, strict in corrected(found).items():
            alone, ends = found[name].difference, strict.difference
            assert ends.low <= alone.low <= alone.high <= ends.high
            assert (ends.low <= 0 <= ends.high) == (strict.p >= 0.05)
            told.append((alone.low <= 0 <= alone.high, ends.low <= 0 <= ends.high))
    assert (False, True) in told, "what was beyond chance alone, and is not among several"
    assert (False, False) in told


def test_an_interval_of_single_models_holds_0_where_mcnemar_says_so() -> None:
    labels = np.zeros(268, np.int64)
    ours, theirs = labels.copy(), labels.copy()
    theirs[:4] = 1
    found = compare(labels, ours[None], theirs[None])
    assert found.p == pytest.approx(0.0625)
    assert (found.difference.low, found.difference.mean) == (0, pytest.approx(4 / 268))
    theirs[:8] = 1
    assert compare(labels, ours[None], theirs[None]).difference.low > 0


def test_several_comparisons_are_held_to_more() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "c": 0.06, "b": 0.06}
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}
