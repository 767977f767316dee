"""Results of an experiment, from which all parts of a report are made."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search_spaces import InputError
from trainables.storage.pretrained_files import Weights, weights_of_experiment
from trainables.training.metrics import confusion_matrix, tally
from tune.experiment.experiment import Experiment
from tune.experiment.planned_rows import PlannedRow, planned_rows
from tune.experiment.report_figures import ClassFigures, Config, Confusion, PretrainedWeights, Test, TestMetric
from tune.experiment.report_json import RecipeReport, Report, RowReport, read_report
from tune.experiment.study import SearchStudy
from tune.experiment.trial_ranking import choose
from tune.experiment.trial_record import TrialRecord
from tune.finals.finalists import Finalist, load_default, load_finalists, winner_of
from tune.finals.soups import Soup, load_soups, pool_of
from tune.reporting.formatting import counted
from tune.settings.preset import Preset
from tune.settings.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Results:
    """An experiment with its trials and finals.

    Attributes:
        experiment: the folder.
        records: all trials.
        finalists: the finalists trained so far.
        failures: a line for each final that failed.
        seconds: the duration of the search.
    """

    experiment: Experiment
    records: list[TrialRecord]
    finalists: list[Finalist]
    failures: list[str]
    seconds: float

    @classmethod
    def of_folder(cls, experiment: Experiment, study: SearchStudy) -> "Results":
        """Return the results of an experiment, even while its search is running.

        Failures of finals are kept only in the existing `report.json`, so they are read from there.
        """
        before = None
        with suppress(InputError):  # it is being rewritten, so it need not be readable
            before = read_report(experiment)
        results = cls(
            experiment=experiment,
            records=study.records,
            finalists=[],
            failures=before.failures if before else [],
            seconds=max(study.seconds, before.seconds if before else 0.0),
        )
        settings = results.settings
        chosen = choose(results.records, settings.milestones, settings.final_top, maximize=settings.objective.maximize)
        numbers = [record.number for record in chosen]
        return replace(results, finalists=load_finalists(experiment.folder, numbers, settings))

    @cached_property
    def settings(self) -> Settings:
        """The settings of the search."""
        return self.experiment.settings

    @cached_property
    def card(self) -> dict[str, Any]:
        """The data card, from `data.json`."""
        card: dict[str, Any] = self.experiment.read("data.json")
        return card

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The environment of the search, from `environment.json`."""
        environment: dict[str, Any] = self.experiment.read("environment.json")
        return environment

    def environment_facts(self) -> list[tuple[str, str]]:
        """Return the environment as lines of name and value."""
        environment = dict(self.environment)
        packages = environment.pop("packages")
        earlier = environment.pop("earlier", [])
        if earlier:
            environment["earlier"] = f"its first {counted(earlier[-1]['trials'], 'trial')} were begun elsewhere"
        return [(name, str(value)) for name, value in environment.items()] + list(packages.items())

    @cached_property
    def weights(self) -> dict[str, Weights]:
        """The pretrained weights that trials began with, by `RECIPE.MODEL`."""
        return weights_of_experiment(self.experiment.folder)

    def weights_of(self, recipe: str, config: Config) -> PretrainedWeights | None:
        """Return source and digest of the pretrained weights that a configuration begins with; None if it has none."""
        if config.get("pretrained") != "yes":
            return None
        weights = self.weights[f"{recipe}.{config['model']}"]
        return PretrainedWeights(source=weights.source, digest=weights.digest)

    @cached_property
    def preset(self) -> Preset | None:
        """The preset that the search began with."""
        return self.experiment.preset

    @cached_property
    def rows(self) -> list[PlannedRow]:
        """The published rows of the preset that the search began with."""
        return planned_rows(self.experiment)

    @property
    def tested_on(self) -> Literal["test", "val"]:
        """The split that finals are tested on: test, or val without a test split."""
        return "test" if self.card["images"]["test"] else "val"

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of their indices."""
        return list(self.card["classes"])

    def of(self, recipe: str) -> list[TrialRecord]:
        """Return the trials of a recipe, by number."""
        return [record for record in self.records if record.recipe == recipe]

    def best(self, recipe: str) -> TrialRecord | None:
        """Return the trial that represents a recipe before there are finals; None if no trial has a value."""
        chosen = choose(self.of(recipe), self.settings.milestones, 1, maximize=self.settings.objective.maximize)
        return chosen[0] if chosen else None

    def finalists_of(self, recipe: str) -> list[Finalist]:
        """Return a recipe's finalists, the best mean val metric first."""
        own = [finalist for finalist in self.finalists if finalist.first.recipe == recipe]
        return sorted(own, key=lambda finalist: self.settings.objective.cost(finalist.val[self.settings.metric]))

    def soups_of(self, recipe: str) -> list[Soup]:
        """Return the weight soups of a recipe's finals."""
        return load_soups(self.experiment.folder, pool_of(self.finalists_of(recipe), self.settings))

    @cached_property
    def winner(self) -> Finalist | None:
        """The finalist that is best on val; None if nothing was tested."""
        return winner_of(self.finalists, self.settings)

    @cached_property
    def default(self) -> Finalist | None:
        """The default point of the winner's recipe, trained like the winner; None if it was not trained."""
        if self.winner is None:
            return None
        recipe = self.winner.first.recipe
        config = self.experiment.default(recipe)
        chosen = [finalist for finalist in self.finalists_of(recipe) if finalist.first.config == config]
        return chosen[0] if chosen else load_default(self.experiment.folder, recipe, self.settings)


def began_with(report: Report) -> list[str]:
    """Describe the pretrained weights of each recipe's best, or their absence, one line each."""
    return [f"{recipe}: {weights}" for recipe, entry in report.recipes.items() if (weights := source(entry))]


def source(entry: RecipeReport | RowReport) -> str | None:
    """Describe the source of pretrained weights; None without a configuration or for a recipe without the choice."""
    if "pretrained" not in (entry.config or {}):
        return None
    if entry.weights is None:
        return "none, random weights instead (pretrained=no)"
    return f"{entry.weights.source} (SHA-256 {entry.weights.digest[:16]})"


def on_test(finalist: Finalist) -> Test:
    """Return each test metric: the mean over seeds with its 95% interval, and the standard deviation between seeds."""
    found = {}
    evaluations = [final.on_test.metrics for final in finalist.finals]
    for name, ends in finalist.test().items():
        values = [of_seed[name] for of_seed in evaluations]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[name] = TestMetric(ends.mean, ends.low, ends.high, std)
    seeds = [final.seed for final in finalist.finals]
    return Test.model_validate({"n": len(finalist.first.labels), "seeds": seeds, **found})


def of_images(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: list[str]
) -> tuple[dict[str, ClassFigures], Confusion]:
    """Return precision, recall, F1 and support of each class, and the confusion matrix."""
    confusion = confusion_matrix(labels, predictions, len(classes))
    counts = tally(confusion)
    per_class = {
        name: ClassFigures(
            precision=float(counts.precision[i]),
            recall=float(counts.recall[i]),
            f1=float(counts.f1[i]),
            support=int(counts.support[i]),
        )
        for i, name in enumerate(classes)
    }
    return per_class, confusion.tolist()
