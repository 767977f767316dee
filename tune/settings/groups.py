"""The fields of the settings, in groups as the help shows them. A field's description is its help.

A field's annotation carries its validator, and the marks that say what else is true of it.
"""

import os
from enum import Enum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from search_spaces.space.shape import Share
from tune.settings.objective import ObjectiveMetric
from tune.settings.parsing import (
    absolute,
    absolute_file,
    absolute_out,
    absolute_preset,
    absolute_source,
    absolute_storage,
    cache_folder,
    flat,
    items,
    out_folder,
    project_name,
    seconds,
    shares,
)

DEFAULT_RECIPES = ("knn", "mlp", "plain_cnn")
"""The recipes that are searched by default: quick on any machine."""

HERE = "local"
"""The address that means a Ray of the search's own, on this machine."""


class Mark(Enum):
    """A mark of a setting, in its annotation."""

    RESUMABLE = "may change on --resume; a change of any other setting would make another experiment"
    PLACE = "says where a search runs or keeps its files, which does not change its results"
    SWEEP = "is a flag of toprung sweep"
    SWEEP_TRIAL = "is a flag of toprung sweep that its trials get, too"
    DOCTOR = "is a flag of toprung doctor"


RESUMABLE, PLACE, DOCTOR = Mark.RESUMABLE, Mark.PLACE, Mark.DOCTOR
SWEEP, SWEEP_TRIAL = Mark.SWEEP, Mark.SWEEP_TRIAL


def _address() -> str:
    return os.environ.get("RAY_ADDRESS") or HERE


class DataSettings(BaseModel):
    """Images, labels and splits."""

    model_config = ConfigDict(title="data")

    data: Annotated[str, AfterValidator(absolute_source), SWEEP_TRIAL, DOCTOR] = Field(
        "digits",
        description="digits, fashion_mnist:DIR, cifar10:DIR, parquet:GLOB, or the folder of your images",
    )
    limit: Annotated[int | None, SWEEP_TRIAL] = Field(
        None, ge=1, description="use this many of the training images, stratified by class"
    )
    image_size: Annotated[int | None, SWEEP_TRIAL] = Field(
        None,
        ge=4,
        le=1024,
        description="side of the images in pixels (default: their own; 64 for folders of larger images)",
    )
    variant: Annotated[Literal["whole", "box", "either"], SWEEP_TRIAL, DOCTOR] = Field(
        "whole", description="train on whole images, on images cut to their boxes, or let each trial choose"
    )
    image_column: Annotated[str | None, SWEEP_TRIAL, DOCTOR] = Field(
        None, description="Parquet: the column of images (default: the one that holds images)"
    )
    label_column: Annotated[str | None, SWEEP_TRIAL, DOCTOR] = Field(
        None, description="Parquet: the column of labels (default: label, labels, category or class)"
    )
    box_column: Annotated[str | None, SWEEP_TRIAL, DOCTOR] = Field(
        None, description="Parquet: the column of boxes, x, y, width and height in pixels (default: bbox)"
    )
    normalize_classes: Annotated[bool, SWEEP_TRIAL] = Field(
        False, description="write class names in lower case, with _ for blanks; names that become equal are one class"
    )
    drop_unseen_classes: Annotated[bool, SWEEP_TRIAL] = Field(
        False, description="leave out of train the classes that are in neither val nor test"
    )
    split: Annotated[tuple[Share, Share, Share], BeforeValidator(shares), SWEEP_TRIAL] = Field(
        (0.70, 0.15, 0.15),
        description="train,val,test of data without splits: fractions, or numbers of images such as rest,1000,1000; "
        "a test of 0 means no test split",
    )
    group_by: Annotated[str | None, SWEEP_TRIAL] = Field(
        None, description="regular expression on an image's path; images of one group stay in one split"
    )
    on_bad_image: Annotated[Literal["refuse", "skip"], SWEEP_TRIAL] = Field(
        "refuse", description="what to do about an image that cannot be read"
    )
    cache: Annotated[str, AfterValidator(absolute), PLACE, SWEEP_TRIAL, DOCTOR] = Field(
        default_factory=lambda: str(cache_folder()), description="folder of decoded images"
    )


class RecipeSettings(BaseModel):
    """Recipes, and the parts of their spaces that are searched."""

    model_config = ConfigDict(title="recipes")

    preset: Annotated[str | None, AfterValidator(absolute_preset), DOCTOR] = Field(
        None,
        description="a published experiment: cifar10_classic, dog_breeds, flowers_cnn, product_masks, yolo_dropout, or "
        "a .yaml file; its rows are run first, then searched around",
    )
    rows_only: bool = Field(False, description="run the rows of the preset, and search nothing")
    recipes: Annotated[tuple[str, ...], BeforeValidator(items), DOCTOR] = Field(
        DEFAULT_RECIPES,
        description="the recipes to search, with commas between; a folder of your own, such as ./my_recipes, "
        f"stands for all in it (default: {','.join(DEFAULT_RECIPES)})",
    )
    recipes_from: Annotated[tuple[str, ...], BeforeValidator(items), SWEEP_TRIAL, DOCTOR] = Field(
        (), description="folders whose recipes --recipes may name (default: the folders that it names itself)"
    )
    set: Annotated[dict[str, str], BeforeValidator(flat), SWEEP_TRIAL] = Field(
        default_factory=dict,
        description="RECIPE.FIELD=VALUE fixes a field, =LOW..HIGH narrows it, =A|B|C restricts a choice; repeatable",
    )
    weights: Annotated[str | None, AfterValidator(absolute_file), SWEEP_TRIAL] = Field(
        None,
        description="pretrained weights: a file, or a folder of files named like their networks "
        "(default: an installed package that ships them, or where the network's library publishes them)",
    )


class SearchSettings(BaseModel):
    """Trials, early stopping and the objective."""

    model_config = ConfigDict(title="search")

    trials: Annotated[int, RESUMABLE, SWEEP] = Field(
        30, ge=1, description="number of configurations to try, over all recipes"
    )
    max_epochs: Annotated[int, SWEEP_TRIAL] = Field(30, ge=1, description="epochs of a trial that is never stopped")
    grace_period: Annotated[int, SWEEP] = Field(
        3, ge=1, description="epochs before a trial can be stopped: the first rung"
    )
    reduction_factor: Annotated[int, SWEEP] = Field(
        3, ge=2, description="one trial in this many continues beyond a rung"
    )
    allocate: Literal["equal", "adaptive"] = Field(
        "equal",
        description="equal: each recipe gets the same number of trials; adaptive: the sampler chooses the recipe",
    )
    time_budget: Annotated[float | None, BeforeValidator(seconds), RESUMABLE] = Field(
        None, gt=0, description="stop the trials after this time (90s, 10m, 2h); the finals follow"
    )
    metric: Annotated[ObjectiveMetric, SWEEP_TRIAL] = Field(
        "accuracy", description="the metric that is optimized on val"
    )
    seed: Annotated[int, SWEEP_TRIAL] = Field(
        0, ge=0, lt=2**31, description="the seed from which all others are derived"
    )


class PlaceSettings(BaseModel):
    """Folders, storage and the Ray cluster."""

    model_config = ConfigDict(title="places")

    out: Annotated[str, AfterValidator(absolute_out), PLACE, DOCTOR] = Field(
        default_factory=out_folder,
        validate_default=True,
        description="folder of all experiments; on a cluster, one that every node sees, or s3://... or gs://... "
        "(default: $TOPRUNG_OUT, or results)",
    )
    name: Annotated[str, SWEEP] = Field("", description="name of the experiment (default: data set and time)")
    storage: Annotated[str | None, AfterValidator(absolute_storage), PLACE] = Field(
        None,
        description="Optuna storage URL, such as postgresql://USER@HOST/DATABASE, without a password "
        "(default: study.db in the experiment's folder)",
    )
    address: Annotated[str, RESUMABLE, PLACE, DOCTOR] = Field(
        default_factory=_address,
        description="host:port of a running Ray cluster, auto for the cluster of this machine, or local to start "
        "Ray on this machine alone (default: $RAY_ADDRESS, or local)",
    )


class ResourceSettings(BaseModel):
    """Resources of a trial."""

    model_config = ConfigDict(title="resources")

    cpus_per_trial: Annotated[float, DOCTOR] = Field(1, gt=0, description="CPU cores of each trial")
    gpus_per_trial: Annotated[float | None, DOCTOR] = Field(
        None,
        ge=0,
        description="GPUs of each trial; with 0.5, two trials share a GPU (default: 1 where there are GPUs, else 0)",
    )
    concurrent: Annotated[int | None, RESUMABLE] = Field(
        None, ge=1, description="trials that run at the same time (default: as many as fit)"
    )


class FinalSettings(BaseModel):
    """Finals: the best configurations, trained again and tested."""

    model_config = ConfigDict(title="finals")

    final_seeds: Annotated[int, RESUMABLE] = Field(
        3, ge=1, le=100, description="seeds with which each of the best configurations is trained again"
    )
    final_top: Annotated[int, RESUMABLE] = Field(
        1, ge=1, description="number of each recipe's best configurations that are trained again"
    )
    final_train: Annotated[Literal["train", "train+val"], RESUMABLE] = Field(
        "train",
        description="train+val: once val has chosen winner and epochs, train the finals on both splits and test these",
    )


class DisplaySettings(BaseModel):
    """Display of the search in the terminal, in TensorBoard and in W&B."""

    model_config = ConfigDict(title="display")

    progress: Annotated[Literal["auto", "bar", "plain", "none"], RESUMABLE] = Field(
        "auto",
        description="bar: one live screen; plain: a line now and then; none: the results alone; auto: bar in a "
        "terminal, else plain",
    )
    tensorboard: Annotated[bool, RESUMABLE] = Field(
        False, description="also write TensorBoard event files of trials and finals"
    )


class WandbSettings(BaseModel):
    """Tracking of the search in W&B."""

    model_config = ConfigDict(title="W&B")

    wandb: Annotated[Literal["off", "offline", "online"], RESUMABLE] = Field(
        "off",
        description="show the search in W&B, with a run for each trial and final; offline: keep the runs for "
        "toprung track",
    )
    wandb_project: Annotated[str, AfterValidator(project_name), RESUMABLE, SWEEP] = Field(
        "toprung", description="the project in W&B"
    )
    wandb_entity: Annotated[str | None, RESUMABLE, SWEEP] = Field(
        None, description="the user or team in W&B (default: that of the login)"
    )
    wandb_group: Annotated[str | None, RESUMABLE] = Field(
        None, description="the group of the runs (default: the name of the experiment)"
    )
    wandb_tags: Annotated[tuple[str, ...], BeforeValidator(items), RESUMABLE] = Field(
        (), description="tags of the runs, with commas between"
    )
    wandb_sweep: Annotated[bool, RESUMABLE] = Field(
        False, description="also make a sweep in W&B that shows the trials with the fields that they vary"
    )
