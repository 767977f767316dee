"""The figures in a report: test metrics with intervals, comparisons, calibration, costs, counts of trials."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from search_spaces import Value
from tune.experiment.trial_record import State

READ = ConfigDict(
    frozen=True,
    extra="ignore",
    json_schema_extra={"additionalProperties": False},
    json_schema_serialization_defaults_required=True,
)
"""The configuration of all parts of a report: nothing else is written, but keys of later versions are read over."""


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Text = Annotated[str, PlainValidator(_as_text), WithJsonSchema({"type": "string"})]
"""Any string. Names from outside may hold bytes that are no text, which pydantic's own strings refuse."""

Figure = Annotated[float | None, BeforeValidator(_or_none)]
"""A number; null for NaN and infinity, which JSON does not have."""

FigureByName = Mapping[str, Figure]

Config = dict[str, Value]
"""A configuration: the active fields of a recipe's space."""

MeanOf = Literal["probabilities", "uniform soup", "greedy soup"]
"""The quantity that an ensemble averages."""

Confusion = list[list[int]]
"""Counts of images; rows are true classes, columns predicted ones."""


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95% interval."""

    __pydantic_config__ = READ

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class TestMetric(Interval):
    """A metric's mean over the seeds, with its 95% interval and the standard deviation between seeds."""

    __test__ = False  # no test of pytest's

    std: Annotated[float | None, Field(description="between seeds (of a sample); null with a single one")]


class Test(BaseModel):
    """The metrics of a configuration on test, by name."""

    __test__ = False

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, TestMetric]

    n: int = Field(description="test images")
    seeds: list[int] = Field(min_length=1)

    @property
    def metrics(self) -> dict[str, TestMetric]:
        """All metrics by name."""
        return self.__pydantic_extra__

    @property
    def accuracy(self) -> TestMetric:
        """The accuracy, which every report has."""
        return self.__pydantic_extra__["accuracy"]


class EnsembleTest(BaseModel):
    """The metrics of an ensemble on test, by name."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Interval]

    n: int = Field(description="test images")

    @property
    def metrics(self) -> dict[str, Interval]:
        """All metrics by name."""
        return self.__pydantic_extra__

    @property
    def accuracy(self) -> Interval:
        """The accuracy, which every report has."""
        return self.__pydantic_extra__["accuracy"]


class Comparison(BaseModel):
    """A difference of accuracies on the same test images."""

    model_config = READ

    difference: Interval
    p: float = Field(description="of no difference, two-sided")


class AgainstTrainAlone(Comparison):
    """The gain from training on val, too."""

    accuracy: float = Field(description="on test, of the same trainings on train alone")


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The images of all models whose most likely class has a probability in one of the bins.

    Attributes:
        confidence: mean probability of the most likely class.
        accuracy: fraction of images whose most likely class is the true one.
        images: number of images.
    """

    __pydantic_config__ = READ

    confidence: float
    accuracy: float
    images: int


Error = Annotated[float, Field(description="expected calibration error on test, of 15 bins of equal width")]


class Calibration(BaseModel):
    """The agreement of confidence and accuracy on test, of all seeds together."""

    model_config = READ

    ece: Error
    temperature: float = Field(description="divisor of the logits with the least loss on val, the mean over seeds")
    ece_with_temperature: Error
    bins: list[ReliabilityBin] = Field(description="test images by the probability of their most likely class")
    bins_with_temperature: list[ReliabilityBin]


class ClassFigures(BaseModel):
    """The figures of a class on test."""

    model_config = READ

    precision: float
    recall: float
    f1: float
    support: int = Field(description="images of the class")


class PretrainedWeights(BaseModel):
    """The pretrained weights that a training began with."""

    model_config = READ

    source: Text
    digest: str = Field(description="SHA-256 of the file")


class ModelCost(BaseModel):
    """The cost of a model for one image: see `trainables.inference.cost`."""

    model_config = READ

    parameters: int
    trainable: int = Field(description="parameters that were trained")
    macs: int = Field(description="multiply-accumulates: convolutions, matrix products, attention, distances")
    weights_mib: float = Field(description="parameters and buffers")
    latency_ms: float = Field(description="median")
    threads: int = Field(description="of the CPU, while it was timed")
    device: str = Field(description="the processor or GPU that it was timed on")


class TrialCounts(BaseModel):
    """The number of trials by state."""

    model_config = READ

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0

    @property
    def total(self) -> int:
        """The number of all trials."""
        return self.complete + self.pruned + self.failed + self.running


STATES: tuple[State, ...] = ("complete", "pruned", "failed", "running")
