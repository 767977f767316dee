"""An experiment: a folder with the settings of its search."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces import Domains, InputError, Value, space_of
from trainables.storage.synced_folder import is_url
from tune.experiment.folder import MODELS, ExperimentFolder
from tune.settings.preset import PRESET, Preset, read_preset
from tune.settings.settings import Settings, make
from tune.settings.settings_file import SETTINGS, load

STUDY = "study.db"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Experiment(ExperimentFolder):
    """An experiment: its folder, and the settings of its search when it was last begun or resumed."""

    settings: Settings = field(kw_only=True, compare=False, repr=False)

    @classmethod
    def at(cls, settings: Settings) -> "Experiment":
        """Return the experiment that settings name; it need not exist."""
        if is_url(settings.out):
            there = ExperimentFolder.in_bucket(f"{settings.out}/{settings.name}", Path(settings.cache))
        else:
            there = ExperimentFolder(Path(settings.out) / settings.name)
        return cls(there.folder, there.url, settings=settings)

    @classmethod
    def open(cls, path: str | Path) -> "Experiment":
        """Open an experiment that exists, as `ExperimentFolder.open` does, and read its settings.

        Raises:
            InputError: there is no experiment at `path`, or its settings cannot be used.
        """
        return cls.load(ExperimentFolder.open(path))

    @classmethod
    def load(cls, there: ExperimentFolder) -> "Experiment":
        """Read the settings of an experiment that exists.

        Raises:
            InputError: the settings cannot be used.
        """
        return cls(there.folder, there.url, settings=make(load(there.folder / SETTINGS)))

    @property
    def preset(self) -> Preset | None:
        """The published experiment that it began with; None without one."""
        file = self.folder / PRESET
        return read_preset(file) if file.exists() else None

    @property
    def storage(self) -> str:
        """The URL of the study's storage."""
        return self.settings.storage or f"{SQLITE}{self.folder / STUDY}"

    def domains(self, recipe: str) -> Domains:
        """Return the domains that a recipe is searched in: its space, as restricted by a person and by the data."""
        return space_of(recipe).clamped(self.shape, self.settings.domains(recipe))

    def default(self, recipe: str) -> dict[str, Value]:
        """Return the configuration that a recipe's search starts from: its space's default point, inside `domains`."""
        return space_of(recipe).default(self.domains(recipe)).active()


def located(url: str) -> Path:
    """Return the local copy of an experiment in a bucket, or of a model folder in one.

    Raises:
        InputError: there is no such experiment, or it cannot be read.
    """
    inside: list[str] = []
    above = url.rstrip("/")
    if above.split("/")[-2:-1] in [[folder] for folder in MODELS]:  # a model in an experiment
        above, *inside = above.rsplit("/", 2)
    return ExperimentFolder.open(above).folder.joinpath(*inside)


def several(places: Sequence[str]) -> dict[str, Experiment]:
    """Return existing experiments by distinct names: the last part of each place, or as many parts as needed.

    Raises:
        InputError: fewer than two places are given, one is given twice, or one is no experiment.
    """
    if len(places) < 2:
        raise InputError(f"{' '.join(places)}: is one experiment; give two or more")
    found: dict[str, str] = {}
    experiments = [Experiment.open(place) for place in places]
    for place, experiment in zip(places, experiments, strict=True):
        key = experiment.url or str(experiment.folder.resolve())
        if key in found:
            raise InputError(f"{found[key]} and {place}: are the same experiment; give each once")
        found[key] = place
    parts = [str(experiment).split("/") for experiment in experiments]
    names = (["/".join(part[-count:]) for part in parts] for count in range(1, 1 + max(map(len, parts))))
    return dict(zip(next(some for some in names if len(set(some)) == len(some)), experiments, strict=True))
