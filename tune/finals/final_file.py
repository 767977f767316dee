"""The file `final.json` in the folder of a tested model: its training, its metrics and its cost.

A key that an older version did not write has a default.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from trainables.data.spec import TrainOn
from trainables.training.metrics import EpochFigures, Metrics
from tune.experiment.folder import FINAL
from tune.experiment.report_figures import Config, ModelCost
from tune.experiment.report_json import GridScore
from tune.finals.test_samples import Example

SoupKind = Literal["uniform", "greedy"]


@dataclass(frozen=True, kw_only=True)
class TestedRecord:
    """The facts about any tested model.

    Attributes:
        recipe, config: the recipe and its configuration.
        train_on: the splits that it was trained on.
        val, test: metrics on the two splits. For a model that was also trained on val, the val metrics are those of the
            same training on train alone; they are empty if there was none.
        seconds: training and evaluation.
        classes: number of classes.
        model: its cost; None if it was not measured.
        mixed: True if it was trained in bfloat16.
        examples: a few test images, in the order of the thumbnails.
    """

    recipe: str
    config: Config
    train_on: TrainOn = "train"
    val: Metrics
    test: Metrics
    seconds: float
    classes: int
    model: ModelCost | None = None
    mixed: bool = False
    examples: list[Example] = field(default_factory=list)

    @classmethod
    @cache
    def adapter(cls) -> TypeAdapter[Any]:
        """Return the reader and writer of such records; to make one takes longer than to read 100 files."""
        return TypeAdapter(cls)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load the facts from the folder of a tested model."""
        record: Self = cls.adapter().validate_python(read_final(folder))
        return record

    def dump(self) -> str:
        """Return the content of the file."""
        return json.dumps(self.adapter().dump_python(self), indent=1)


@dataclass(frozen=True, kw_only=True)
class FinalRecord(TestedRecord):
    """The facts about one training with one seed.

    Attributes:
        trial: the trial that found the configuration; None for a default point, which may not have been a trial, and
            for a published row.
        seed: of this training.
        epoch: the epoch whose weights were tested.
        curves: the figures of each epoch.
        scores: of the configurations that were compared by cross-validation before this training.
    """

    trial: int | None
    seed: int
    epoch: int
    curves: list[EpochFigures] = field(default_factory=list)
    scores: list[GridScore] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SoupRecord(TestedRecord):
    """The facts about a weight soup.

    Attributes:
        kind: the rule by which its members were chosen.
        pool: the finals to choose from, by the names of their folders, the best on val first.
        members: the finals that were averaged.
    """

    kind: SoupKind
    pool: list[str]
    members: list[str]


def read_final(folder: Path) -> dict[str, object]:
    """Return the content of the file in the folder of a tested model."""
    content: dict[str, object] = json.loads((folder / FINAL).read_text())
    return content
