"""The report of an experiment, `report.json`: its results for programs, and the source of all that people read.

Its JSON Schema is `tune/reporting/report.schema.json`. A key that an older version did not write has a default.
"""

import json
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from search_spaces import InputError, Value, Variant
from tune.experiment.folder import ExperimentFolder
from tune.experiment.report_figures import (
    READ,
    AgainstTrainAlone,
    Calibration,
    ClassFigures,
    Comparison,
    Config,
    Confusion,
    EnsembleTest,
    Error,
    FigureByName,
    MeanOf,
    ModelCost,
    PretrainedWeights,
    Test,
    Text,
    TrialCounts,
)
from tune.settings.objective import ObjectiveMetric

REPORT = "report.json"


class FinalReport(BaseModel):
    """One training with one seed."""

    model_config = READ

    seed: int
    epoch: int = Field(description="the epoch that was tested: the best on val")
    val: FigureByName
    test: FigureByName


class FinalistReport(BaseModel):
    """A configuration that was trained with each seed and tested."""

    model_config = READ

    best_trial: int | None = Field(default=None, description="the trial that found it")
    config: Config
    val: FigureByName = Field(description="the mean over the seeds")
    test: Test
    finals: list[FinalReport] = Field(description="each training, by seed")
    finals_on_train_alone: list[FinalReport] = Field(
        default=[], description="the same trainings on train alone, if they are on train and val; else empty"
    )


class DefaultReport(BaseModel):
    """The default point of the winner's recipe, trained as the winner was."""

    model_config = READ

    config: Config
    val: FigureByName
    test: Test
    finals: list[FinalReport]
    finals_on_train_alone: list[FinalReport] = []
    gain: Comparison | None = Field(description="the winner's accuracy less this one's; null if the default point won")


class RecipeReport(BaseModel):
    """The results of a recipe: its best finalist or, without finals, its best trial."""

    model_config = READ

    trials: TrialCounts
    best_trial: int | None = Field(
        default=None, description="the finalist's trial; without finals the best trial; null if none has a value"
    )
    config: Config | None = Field(default=None, description="of best_trial")
    weights: PretrainedWeights | None = Field(
        default=None, description="what the training began with; null if random weights"
    )
    model: ModelCost | None = Field(default=None, description="the cost of the model in best/; null without finals")
    val: FigureByName | None = Field(
        default=None, description="the finals' mean; without finals the best epoch of best_trial"
    )
    test: Test | None = Field(default=None, description="null without finals")
    against_winner: Comparison | None = Field(
        default=None,
        description="the test accuracy less the winner's; p and interval by Holm for all comparisons; null for the "
        "winner and without finals",
    )
    against_train_alone: AgainstTrainAlone | None = Field(
        default=None, description="for finals on train and val, the gain over the same on train alone; else null"
    )
    finals: list[FinalReport] = []
    finals_on_train_alone: list[FinalReport] = Field(
        default=[], description="the same trainings on train alone, if they are on train and val; else empty"
    )
    calibration: Calibration | None = None
    per_class: dict[Text, ClassFigures] | None = None
    confusion: Confusion | None = Field(
        default=None, description="test images; rows are true classes, columns predicted ones"
    )
    median_seed: int | None = Field(
        default=None, description="of median val metric: model, per_class, confusion and best/ are of it"
    )
    finalists: list[FinalistReport] = Field(default=[], description="the recipe's other finalists")

    @property
    def is_untested(self) -> bool:
        """True if the recipe has a best trial but no tested final."""
        return self.best_trial is not None and self.test is None


class EnsembleReport(BaseModel):
    """Several finals as one classifier."""

    model_config = READ

    mean_of: MeanOf = Field(
        description="what is averaged; soups: the weights, of all finals or of those that are no worse for it on val"
    )
    models: dict[str, int] = Field(description="the number of finals of each recipe")
    val: FigureByName
    test: EnsembleTest
    ece: Error
    against_winner: Comparison = Field(
        description="its test accuracy less the winner's; p and interval by Holm for all ensembles"
    )


class PublishedFigure(BaseModel):
    """A published figure beside the measured one."""

    model_config = READ

    split: Literal["test", "val"]
    metric: str
    published: float | None
    measured: float | None
    low: float | None
    high: float | None
    inside: bool | None = Field(description="true if the published figure lies in the measured 95% interval")


class GridScore(BaseModel):
    """A configuration of a grid with its mean accuracy by cross-validation."""

    model_config = READ

    config: Config
    accuracy: float
    seconds: float


class RowReport(BaseModel):
    """A published row of a preset."""

    model_config = READ

    title: Text
    recipe: str
    train_on: Literal["train", "train+val"]
    epochs: int = Field(description="that were trained; the last was tested")
    eval_variant: Variant | None = Field(
        default=None, description="the input variant of val and test, if not that of train"
    )
    changes: list[Text] = Field(description="what is not as it was published")
    config: Config | None = Field(default=None, description="null if it was not run")
    weights: PretrainedWeights | None = None
    seconds: float | None = Field(default=None, description="of training, test and, of a grid, cross-validation")
    scores: list[GridScore] = Field(default=[], description="the configurations of a grid")
    published_best: dict[str, Value] = Field(default={}, description="the fields of a grid that were published as best")
    test: Test | None = Field(default=None, description="on val without a test split")
    per_class: dict[Text, ClassFigures] | None = None
    confusion: Confusion | None = None
    figures: list[PublishedFigure]


class PresetReport(BaseModel):
    """The published experiment that a search began with."""

    model_config = READ

    title: Text
    notes: list[Text] = Field(default=[], description="what to know before trusting its figures")
    rows: dict[str, RowReport]


class Report(BaseModel):
    """report.json of a toprung experiment."""

    model_config = READ

    winner: str | None = Field(description="the tested recipe with the best mean val metric of its finals")
    metric: ObjectiveMetric
    tested_on: Literal["test", "val"] = Field(
        description="the split of all test figures here: val if there is no test split"
    )
    trained_on: Literal["train", "train+val"] = Field(
        default="train", description="the splits of the finals; val figures are always of trainings on train alone"
    )
    seconds: float = Field(default=0.0, description="of search and finals")
    default: DefaultReport | None = None
    ensembles: list[EnsembleReport] = Field(
        default=[], description="finals as one classifier: of each recipe with several, by rank, then of all"
    )
    preset: PresetReport | None = None
    recipes: dict[str, RecipeReport] = Field(description="by rank")
    warnings: list[Text] = []
    untested: list[str] = Field(
        default=[], description="the recipes whose best trial was not trained again, or not yet"
    )
    failures: list[Text] = Field(default=[], description="a line for each row or final that failed")

    @property
    def best(self) -> RecipeReport | None:
        """The winner's recipe; None without a winner."""
        return None if self.winner is None else self.recipes[self.winner]

    @property
    def rows(self) -> dict[str, RowReport]:
        """The published rows by name; empty without a preset."""
        return self.preset.rows if self.preset else {}

    @property
    def running(self) -> int:
        """The number of trials that were not finished when the report was written."""
        return sum(entry.trials.running for entry in self.recipes.values())


def read_report(experiment: ExperimentFolder) -> Report | None:
    """Read an experiment's report; None if none was written yet.

    Raises:
        InputError: the file is no report.
    """
    if not (experiment.folder / REPORT).is_file():
        return None
    try:
        return Report.model_validate(experiment.read(REPORT))
    except (ValidationError, json.JSONDecodeError):
        raise InputError(
            f"{experiment.folder / REPORT}: is no report; write it again: toprung report {experiment}"
        ) from None
