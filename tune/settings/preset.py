"""A published experiment: its rows, which are configurations run as published, and the search around them."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from search_spaces import InputError, Value, Variant, space_of
from search_spaces.space.errors import meant
from trainables.training.metrics import METRICS
from tune.settings.parsing import flat
from tune.settings.settings import NAME, Settings
from tune.settings.settings_file import read_yaml

SHIPPED = Path(__file__).parent / "presets"

PRESET = "preset.yaml"
"""The name of an experiment's copy of the preset that it was begun with."""

Figures = dict[Literal["test", "val"], dict[str, float]]
"""Metrics by the split that they were measured on."""


class Row(BaseModel):
    """A line of a published table: the configuration, its training, and the published results."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: str = Field(description="as the table calls it")
    recipe: str = Field(description="which recipe trains it")
    config: dict[str, Any] = Field(default_factory=dict, description="fields; what is not named keeps its default")
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="fields whose best values are found first")
    published_best: dict[str, Any] = Field(default_factory=dict, description="of the grid's fields, as published")
    folds: Annotated[int, Field(ge=2)] = Field(3, description="of the cross-validation that finds them")
    epochs: Annotated[int, Field(ge=1)] = Field(1, description="of which the last is tested")
    train_on: Literal["train", "train+val"] = Field("train", description="splits that it is trained on")
    eval_variant: Variant | None = Field(None, description="what is shown of val and test (default: input_variant)")
    image_size: int | None = Field(None, ge=4, le=1024, description="as --image-size (default: that of the settings)")
    published: Figures = Field(description="metrics by split")
    changes: tuple[str, ...] = Field((), description="what is never as it was published, a phrase each")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for candidate in self.candidates():
            space_of(self.recipe).parse(candidate)
        if self.train_on == "train+val" and "val" in self.published:
            raise ValueError("what val figures are published of cannot be trained on train+val; write train_on: train")
        for name, value in self.published_best.items():
            if value not in self.grid.get(name, ()):
                raise ValueError(f"published_best {name}={value}: is not in the grid; add it, or leave it out")
        bounds = {metric.name: metric.bounds for metric in METRICS}
        for metric, value in (item for figures in self.published.values() for item in figures.items()):
            if metric not in bounds:
                known = ", ".join(bounds)
                raise ValueError(f"published {metric}: is not measured{meant(metric, bounds)}; these are: {known}")
            if not bounds[metric][0] <= value <= bounds[metric][1]:
                raise ValueError(f"published {metric} {value:g}: is not a fraction; write 0.92 for 92%")
        return self

    def candidates(self) -> list[dict[str, Value]]:
        """Return the grid's configurations in the order of scikit-learn's `ParameterGrid`; without a grid, `config`."""
        names = sorted(self.grid)
        points = product(*(self.grid[name] for name in names))
        return [self.config | dict(zip(names, point, strict=True)) for point in points]


class Preset(BaseModel):
    """A published experiment.

    Attributes:
        title: its description in a line.
        notes: facts that a person should know before trusting its figures.
        images: number of images of the published data set, including those that the preset leaves out.
        settings: of the search around the published rows; a person's flags override them.
        rows: the published rows, by the name of their folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    notes: tuple[str, ...] = ()
    images: int | None = None
    settings: dict[str, Any]
    rows: dict[str, Row] = Field(min_length=1)

    @property
    def set(self) -> dict[str, str]:
        """The restrictions of the settings on fields, by `RECIPE.FIELD`."""
        restrictions: dict[str, str] = flat(self.settings.get("set", {}))
        return restrictions

    @property
    def variant(self) -> str:
        """The input variant of the search's trials, unless a person sets another."""
        variant: str = self.settings.get("variant", Settings.model_fields["variant"].default)
        return variant

    @property
    def max_epochs(self) -> int:
        """The maximum epochs of the search, unless a person sets another number."""
        epochs: int = self.settings.get("max_epochs", Settings.model_fields["max_epochs"].default)
        return epochs

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name in self.rows:
            if not NAME.fullmatch(name):
                raise ValueError(f"row {name!r} cannot name a folder; use up to 64 letters, digits, '.', '_' and '-'")
        return self


def names() -> list[str]:
    """Return the presets that are shipped."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def file_of(preset: str) -> Path:
    """Return the file of a preset: a shipped one by its name, or a person's own by its path.

    Raises:
        InputError: there is no such preset.
    """
    if preset in names():
        return SHIPPED / f"{preset}.yaml"
    if preset.endswith((".yaml", ".yml")):
        return Path(preset).expanduser()
    raise InputError(
        f"--preset {preset}: there is none{meant(preset, names())}; there are {', '.join(names())}, or give the path "
        "of a .yaml file"
    )


def read_preset(file: Path) -> Preset:
    """Read a preset from its file; keys that begin with a dot serve only as YAML anchors.

    Raises:
        InputError: the file cannot be read, or is not a preset.
    """
    content = {key: value for key, value in read_yaml(file, "preset").items() if not str(key).startswith(".")}
    try:
        return Preset.model_validate(content)
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors())
        raise InputError(f"preset {file}: {'; '.join(reasons)}") from None


def settings_with(preset: Preset, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's settings, overridden by a person's own, without the fields of recipes that are not searched.

    Raises:
        InputError: neither names the data set.
    """
    values = {**preset.settings, **given}
    if "data" not in values:
        raise InputError(f"--preset {given['preset']}: names no data set; say yours by --data, such as --data FOLDER")
    recipes = values.get("recipes", ())
    searched = recipes.split(",") if isinstance(recipes, str) else recipes
    kept = {key: text for key, text in preset.set.items() if key.partition(".")[0] in searched}
    return {**values, "set": {**kept, **flat(given.get("set", {}))}}
