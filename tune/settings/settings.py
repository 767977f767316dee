"""The settings of a search: typed, frozen and validated; read from flags or a YAML file, and written to one."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from search_spaces import Choice, Domain, InputError, Variant, add_recipes, narrow, recipes, space_of
from search_spaces.space.errors import meant
from search_spaces.space.shape import Share
from tune.settings.milestones import milestones

DEFAULT_RECIPES = ("knn", "mlp", "plain_cnn")
"""The recipes that are searched by default: quick on any machine."""


WANDB = ("wandb", "wandb_project", "wandb_entity", "wandb_group", "wandb_tags", "wandb_sweep")
"""The settings that say where W&B shows a search."""

RESUMABLE = (
    "trials",
    "time_budget",
    "final_seeds",
    "final_top",
    "final_train",
    "concurrent",
    "address",
    "progress",
    "tensorboard",
    *WANDB,
)
"""The settings that may change on resume. A change of any other setting would make another experiment."""

HERE = "local"
"""The address that means a Ray of the search's own, on this machine."""

EMBEDDED = ("digits",)
"""Data sets that are given by name, not by path. A folder of such a name is written ./digits."""

SETTINGS = "settings.yaml"
"""The name of an experiment's settings file."""

BUCKETS = ("s3", "gs")
URL_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._=+-]+)*/?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
WANDB_PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    """Parse seconds from a number or from text such as 90, 90s, 10m, 1.5h."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*", value)
    if not match:
        raise ValueError("write seconds, or a number with s, m, h or d, as in 10m")
    return float(match[1]) * UNITS[match[2]]


def _list(value: object) -> object:
    """Split text at commas into a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _shares(value: object) -> object:
    """Parse three shares, numbers or "rest", from text such as 0.7,0.15,0.15 or rest,1000,1000."""
    parts = _list(value)
    try:
        shares = tuple(part if part == "rest" else float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        shares = ()
    if len(shares) != 3:
        raise ValueError(
            "write three fractions, of train, val and test, such as 0.7,0.15,0.15, or numbers of images, such as "
            "rest,1000,1000"
        )
    return shares


def flat(value: Any) -> Any:
    """Flatten `{"knn": {"neighbors": 5}}`, the natural form in YAML, to `{"knn.neighbors": "5"}`."""
    if not isinstance(value, Mapping):
        return value
    pairs: dict[str, str] = {}
    for key, inner in value.items():
        nested = inner if isinstance(inner, Mapping) else {"": inner}
        pairs |= {f"{key}.{name}".rstrip("."): str(text) for name, text in nested.items()}
    return pairs


def _absolute(path: str) -> str:
    """Return a path that means the same to workers and to a resumed search, wherever they are started."""
    return str(Path(path).expanduser().absolute())


def _absolute_out(folder: str) -> str:
    """Make the folder of experiments absolute, unless it is in a bucket."""
    scheme, url, place = folder.partition("://")
    if not url:
        return _absolute(folder)
    if scheme not in BUCKETS or not URL_PLACE.fullmatch(place):
        raise ValueError("is no folder and in no bucket; write a path, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
    return folder.rstrip("/")


def _absolute_file(path: str | None) -> str | None:
    return None if path is None else _absolute(path)


def _absolute_source(data: str) -> str:
    """Make the folder or glob in a data source absolute; a source that names no existing folder stays as it is."""
    if data in EMBEDDED:
        return data
    kind, colon, path = data.rpartition(":")
    placed = kind == "parquet" or Path(path).expanduser().is_dir()
    return f"{kind}{colon}{_absolute(path)}" if placed and path else data


def _absolute_storage(url: str | None) -> str | None:
    """Make the file of an SQLite URL absolute."""
    scheme, slashes, path = (url or "").partition(":///")
    return f"sqlite:///{_absolute(path)}" if scheme == "sqlite" and slashes and path else url


def _has_password(url: str | None) -> bool:
    """Return True if a storage's URL holds a password, or cannot be parsed and so must not be shown."""
    if url is None or not {"@", "?"} & set(url):
        return False
    from sqlalchemy import make_url  # late, as it takes time to import
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return True
    return parsed.password is not None or any("password" in key.lower() for key in parsed.query)


def _project(name: str) -> str:
    if not WANDB_PROJECT.fullmatch(name):
        raise ValueError("cannot name a project; use up to 128 characters, and none of / \\ # ? % :")
    return name


def _absolute_preset(preset: str | None) -> str | None:
    """Make the file of a person's own preset absolute."""
    return _absolute(preset) if preset and preset.endswith((".yaml", ".yml")) else preset


def cache_folder() -> Path:
    """Return this machine's cache folder, for files that can be made or downloaded again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "toprung"


def out_folder() -> str:
    """Return the default folder of experiments."""
    return os.environ.get("TOPRUNG_OUT") or "results"


def _address() -> str:
    return os.environ.get("RAY_ADDRESS") or HERE


class Settings(BaseModel):
    """The settings of a search. The description of a field is its help on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Annotated[str, AfterValidator(_absolute_source)] = Field(
        "digits",
        description="digits, fashion_mnist:DIR, cifar10:DIR, parquet:GLOB, or the folder of your images",
    )
    limit: int | None = Field(None, ge=1, description="use a stratified part of the training images")
    image_size: int | None = Field(
        None, ge=4, le=1024, description="side in pixels (default: as it is; 64 for folders of larger images)"
    )
    variant: Literal["whole", "box", "either"] = Field(
        "whole", description="see whole images, or each cut to its box; either: a trial sees one or the other"
    )
    image_column: str | None = Field(None, description="Parquet: the column of images (default: it is found)")
    label_column: str | None = Field(
        None, description="Parquet: the column of labels (default: label, labels, category or class)"
    )
    box_column: str | None = Field(
        None, description="Parquet: the column of boxes, x, y, width and height in pixels (default: bbox)"
    )
    normalize_classes: bool = Field(False, description="lower-case the names of classes, with _ for blanks")
    drop_unseen_classes: bool = Field(False, description="leave out of train the classes that neither val nor test has")
    split: Annotated[tuple[Share, Share, Share], BeforeValidator(_shares)] = Field(
        (0.70, 0.15, 0.15),
        description="train,val,test of data that comes without splits: fractions, or numbers of images such as "
        "rest,1000,1000; a test of 0 is none",
    )
    group_by: str | None = Field(
        None, description="regular expression on an image's path; images of one group stay in one split"
    )
    on_bad_image: Literal["refuse", "skip"] = Field("refuse", description="what to do about a broken image")
    cache: Annotated[str, AfterValidator(_absolute)] = Field(
        default_factory=lambda: str(cache_folder()), description="where decoded images are kept"
    )
    preset: Annotated[str | None, AfterValidator(_absolute_preset)] = Field(
        None,
        description="a published experiment: cifar10_classic, dog_breeds, flowers_cnn, product_masks, yolo_dropout, or "
        "a .yaml file; its rows are run first, then searched around",
    )
    rows_only: bool = Field(False, description="run the rows of the preset, and search nothing")
    recipes: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
        DEFAULT_RECIPES,
        description="which recipes to search, with commas between; a folder of your own, such as ./my_recipes, "
        f"stands for all in it (default: {','.join(DEFAULT_RECIPES)})",
    )
    recipes_from: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
        (), description="folders of recipes that --recipes may name (default: those that it does name)"
    )
    set: Annotated[dict[str, str], BeforeValidator(flat)] = Field(
        default_factory=dict,
        description="recipe.field=value fixes a field, =low..high narrows it, =a|b|c restricts a choice; repeatable",
    )
    weights: Annotated[str | None, AfterValidator(_absolute_file)] = Field(
        None,
        description="pretrained weights: a file, or a folder of files named like their networks "
        "(default: an installed package that ships them, or where the network's library publishes them)",
    )
    trials: int = Field(30, ge=1, description="configurations to try, over all recipes")
    max_epochs: int = Field(30, ge=1, description="epochs of a trial that is never stopped")
    grace_period: int = Field(3, ge=1, description="epochs before a trial can be stopped: the first rung")
    reduction_factor: int = Field(3, ge=2, description="one in this many goes on from a rung")
    allocate: Literal["equal", "adaptive"] = Field(
        "equal",
        description="equal: each recipe gets the same number of trials; adaptive: the sampler chooses",
    )
    time_budget: Annotated[float | None, BeforeValidator(_seconds)] = Field(
        None, gt=0, description="stop trials after this time (90s, 10m, 2h); finals come after it"
    )
    metric: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = Field(
        "accuracy", description="what is optimised on val"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="the seed that all others follow from")
    out: Annotated[str, AfterValidator(_absolute_out)] = Field(
        default_factory=out_folder,
        validate_default=True,
        description="folder of all experiments; on a cluster, one that every node sees, or s3://... or gs://... "
        "(default: $TOPRUNG_OUT, or results)",
    )
    name: str = Field("", description="name of the experiment (default: data set and time)")
    storage: Annotated[str | None, AfterValidator(_absolute_storage)] = Field(
        None,
        description="Optuna storage URL, such as postgresql://USER@HOST/DATABASE, without a password "
        "(default: study.db in the experiment's folder)",
    )
    address: str = Field(
        default_factory=_address,
        description="host:port of a running Ray cluster, auto for the one that this machine is in, or local to start "
        "Ray here alone (default: $RAY_ADDRESS, or local)",
    )
    cpus_per_trial: float = Field(1, gt=0, description="cores a trial")
    gpus_per_trial: float | None = Field(
        None,
        ge=0,
        description="GPUs a trial; parts share one (default: 1 where there are GPUs, else 0)",
    )
    concurrent: int | None = Field(None, ge=1, description="trials at a time (default: as many as fit)")
    final_seeds: int = Field(3, ge=1, le=100, description="seeds that a best configuration is trained again with")
    final_top: int = Field(1, ge=1, description="best configurations a recipe that are trained again")
    final_train: Literal["train", "train+val"] = Field(
        "train",
        description="train+val: when val has chosen winner and epochs, train the finals on both, and test these",
    )

    progress: Literal["auto", "bar", "plain", "none"] = Field(
        "auto",
        description="bar: one screen; plain: a line now and then; none: results alone; auto: as there is a terminal",
    )
    tensorboard: bool = Field(False, description="write TensorBoard's event files, too, of trials and finals")
    wandb: Literal["off", "offline", "online"] = Field(
        "off", description="show the search in W&B: a run a trial and final; offline: keep runs, sent by toprung track"
    )
    wandb_project: Annotated[str, AfterValidator(_project)] = Field("toprung", description="the project in W&B")
    wandb_entity: str | None = Field(None, description="the user or team in W&B (default: that of the login)")
    wandb_group: str | None = Field(None, description="the group of the runs (default: the name of the experiment)")
    wandb_tags: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
        (), description="tags of the runs, with commas between"
    )
    wandb_sweep: bool = Field(False, description="make a sweep in W&B that shows the trials, with what they vary")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.recipes:
            raise ValueError(f"--recipes: none given; there are: {', '.join(recipes())}")
        if len(set(self.recipes)) < len(self.recipes):
            raise ValueError(f"--recipes {','.join(self.recipes)}: names one twice; name each once")
        for key in self.set:
            recipe, dot, _ = key.partition(".")
            if not dot:
                raise ValueError(f"--set {key}: is not recipe.field; write for instance knn.neighbors=5")
            space_of(recipe)
            if recipe not in self.recipes:
                searched = ", ".join(self.recipes)
                raise ValueError(f"--set {key}: is of a recipe that is not searched; these are: {searched}")
        for recipe in self.recipes:
            self.domains(recipe)
        if _has_password(self.storage):
            raise ValueError(
                "--storage has a password in its URL, which would be kept with the settings; leave it out, and give it "
                "by PGPASSWORD, ~/.pgpass or a service file (postgresql:///?service=NAME)"
            )
        if self.rows_only and not self.preset:
            raise ValueError("--rows-only: there are no rows without a preset; add --preset NAME")
        if self.name and not NAME.fullmatch(self.name):
            raise ValueError(
                f"--name {self.name!r}: cannot name a folder; use up to 64 letters, digits, '.', '_' and '-'"
            )
        if self.gpus_per_trial is not None and self.gpus_per_trial > 1:
            raise ValueError(
                f"--gpus-per-trial {self.gpus_per_trial:g}: a trial trains on one GPU at most, as a search gains more "
                "from trials side by side; give 1 or a part of 1"
            )
        if self.cpus_per_trial > 1 and self.cpus_per_trial != int(self.cpus_per_trial):
            raise ValueError(f"--cpus-per-trial {self.cpus_per_trial:g}: cores cannot be parted; use a whole number")
        return self

    def domains(self, recipe: str) -> dict[str, Domain]:
        """Return the searched domains of a recipe: those of its space, narrowed or widened by `set`.

        Raises:
            InputError: an unknown field, or a value outside its domain.
        """
        space = space_of(recipe)
        domains = {**space.searched(), "input_variant": Choice(self.variants)}
        for key, text in self.set.items():
            owner, _, name = key.partition(".")
            if owner == recipe:
                domains[name] = narrow(space, name, text)
        return domains

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The input variants that trials may use, unless `set` restricts those of a recipe."""
        return ("whole", "box") if self.variant == "either" else (self.variant,)

    def of_wandb(self) -> list[str]:
        """Return the W&B settings that a person has given, other than `wandb` itself."""
        fields = type(self).model_fields
        return [name for name in WANDB[1:] if getattr(self, name) != fields[name].default]

    @property
    def seeds_of_finals(self) -> list[int]:
        """The seeds with which a finalist is trained again."""
        return list(range(self.seed, self.seed + self.final_seeds))

    @property
    def milestones(self) -> list[int]:
        """The milestones, which are the epochs of the rungs."""
        return milestones(self.grace_period, self.reduction_factor, self.max_epochs)

    @property
    def maximize(self) -> bool:
        """True if a larger metric is better."""
        return self.metric != "loss"

    def dump(self) -> str:
        """Return the settings as YAML that `load` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def make(values: Mapping[str, Any]) -> Settings:
    """Validate settings; if they have no name, make one of data set and time.

    Recipes in the folders that `recipes` and `recipes_from` name become known to this process.

    Raises:
        InputError: in one line, the value, the rule and the way out.
    """
    try:
        settings = Settings(**_with_folders(values))
    except ValidationError as error:
        raise InputError("; ".join(_explain(e) for e in error.errors())) from None
    if settings.name:
        return settings
    kind, _, path = settings.data.partition(":")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", kind if path else Path(kind).name).strip("-._") or "data"
    return settings.model_copy(update={"name": f"{stem[:40]}-{datetime.now():%Y%m%d-%H%M%S}"})


def _with_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace folders in `recipes` by the names of their recipes, and add the folders to `recipes_from`."""
    given, folders = _texts(values.get("recipes", ())), _texts(values.get("recipes_from", ()))
    if given is None or folders is None:
        return dict(values)  # validation refuses its type
    known = {_absolute(folder): add_recipes(folder, "--recipes-from") for folder in folders}
    names: list[str] = []
    for name in given:
        if not _is_folder(name):
            names.append(name)
            continue
        known[_absolute(name)] = add_recipes(name)
        names += [recipe for recipe in known[_absolute(name)] if recipe not in given]
    changed: dict[str, Any] = {"recipes": tuple(names)} if "recipes" in values else {}
    return {**values, **changed, **({"recipes_from": tuple(known)} if known else {})}


def _texts(value: object) -> list[str] | None:
    """Return a list of texts, also from text with commas; None for anything else."""
    parts = _list(value)
    return list(parts) if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts) else None


def _is_folder(recipe: str) -> bool:
    """Return True if the name is a folder of recipes: only paths contain slashes or begin with . or ~."""
    return recipe.startswith((".", "~")) or "/" in recipe or os.sep in recipe


def load(path: Path) -> dict[str, Any]:
    """Load the values of a settings file, not yet validated.

    Raises:
        InputError: the file cannot be read, or is not a mapping of known settings.
    """
    values = read_yaml(path, "settings")
    unknown = [str(key) for key in values if key not in Settings.model_fields]
    if unknown:
        raise InputError(
            f"settings file {path} has unknown keys: {', '.join(unknown)}{meant(unknown[0], Settings.model_fields)}; "
            f"known: {', '.join(Settings.model_fields)}"
        )
    if "set" not in values:
        return values
    if not isinstance(values["set"] or {}, dict):
        raise InputError(f"settings file {path}: set is not a mapping; write lines such as 'knn.neighbors: 1..9'")
    return {**values, "set": flat(values["set"] or {})}


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """Read the mapping in a file of settings or of a preset.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        values = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise InputError(f"{kind} file {path} cannot be read: {error.strerror}; give a YAML file") from None
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{kind} file {path} is not YAML: {error.problem}{place}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{kind} file {path} is not YAML, but something else than text") from None
    if not isinstance(values, dict):
        raise InputError(f"{kind} file {path} is not a mapping; write lines such as 'trials: 30'")
    return values


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a duplicate key is an error, as the YAML standard says."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, and refuse duplicate keys."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(problem=f"{twice!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _explain(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    flag = "--" + str(error["loc"][0]).replace("_", "-")
    rule = message[0].lower() + message[1:]
    return f"{flag} {error['input']!r}: {rule}"
