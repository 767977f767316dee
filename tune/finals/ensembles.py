"""Ensembles of finals: the mean of their probabilities, or of their weights, as one classifier."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.training.metrics import Evaluation
from tune.experiment.report_figures import MeanOf
from tune.finals.final_file import SoupKind
from tune.finals.finalists import Finalist, Tested
from tune.finals.soups import Soup

SOUPS: dict[SoupKind, MeanOf] = {"uniform": "uniform soup", "greedy": "greedy soup"}


@dataclass(frozen=True)
class Ensemble:
    """Several finals as one classifier.

    Attributes:
        mean_of: the quantity averaged: "probabilities", or weights, in a "uniform soup" or a "greedy soup".
        models: number of finals of each recipe.
        voters: models whose probabilities are averaged; for a soup, only the soup itself.
    """

    mean_of: MeanOf
    models: dict[str, int]
    voters: Sequence[Tested]

    @classmethod
    def of(cls, members: Sequence[Finalist]) -> "Ensemble":
        """Combine finalists, with one vote for each of their seeds."""
        finals = [final for member in members for final in member.finals]
        return cls("probabilities", dict(Counter(final.recipe for final in finals)), finals)

    def on_test(self) -> Evaluation:
        """Evaluate the ensemble on the test images."""
        return _evaluation(averaged(each.log_probabilities for each in self.voters), self.voters[0].labels)

    def on_val(self) -> Evaluation:
        """Evaluate the ensemble on the val images."""
        return _evaluation(averaged(each.val_log_probabilities for each in self.voters), self.voters[0].val_labels)


def ensembles_of(recipes: Sequence[Sequence[Finalist]], soups: Sequence[Soup] = ()) -> list[Ensemble]:
    """Return the ensembles of finalists, which are given by recipe.

    A recipe with several finals has an ensemble of them, and one for each of its soups. If there are several recipes,
    all finals together are the last.
    """
    found = []
    for finalists in recipes:
        together = Ensemble.of(finalists)
        if len(together.voters) > 1:
            found.append(together)
        recipe = finalists[0].first.recipe
        own = [soup for soup in soups if soup.recipe == recipe]
        found += [Ensemble(SOUPS[soup.kind], {recipe: len(soup.members)}, [soup]) for soup in own]
    return [*found, Ensemble.of([each for own in recipes for each in own])] if len(recipes) > 1 else found


def averaged(log_probabilities: Iterable[NDArray[np.float16]]) -> NDArray[np.float64]:
    """Return the logarithm of the mean of the probabilities (images, classes) of several models."""
    first, *others = log_probabilities
    total = first.astype(np.float64)
    for other in others:
        total = np.logaddexp(total, other.astype(np.float64))
    return np.asarray(total - np.log(1 + len(others)))


def _evaluation(log_probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Evaluation:
    return Evaluation(
        losses=-log_probabilities[np.arange(len(labels)), labels],
        labels=labels,
        predictions=log_probabilities.argmax(axis=1),
        log_probabilities=log_probabilities.astype(np.float32),
    )
