"""The folder of an experiment: its place, its lock, and the writing of its files."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from search_spaces import DataShape, InputError
from trainables.storage.files import whole
from trainables.storage.synced_folder import SyncedFolder, is_url, reason_of
from tune.experiment.search_lock import Taken, leased
from tune.settings.parsing import cache_folder, out_folder
from tune.settings.settings_file import SETTINGS

FINAL = "final.json"
"""The file that is written last into the folder of a final."""

MODELS = ("best", "rows", "soups")
"""The folders of an experiment with models to take away."""

LOCK = ".lock"
"""The file whose lock a searching process of this machine holds."""

CREDENTIALS = "is it there, and may this machine use it? credentials come from the environment"


@dataclass(frozen=True)
class ExperimentFolder:
    """An experiment's folder, absolute, and its copy in a bucket.

    settings.yaml      the settings
    environment.json   the machine, package versions and threads that it ran on
    data.json, splits/ class names, counts, digests; which image is in which split
    samples.npz        a few images of train, for the report
    views/             data.json and splits/ of the other input variants: images cut to their boxes, or smaller
    study.db           every trial and every epoch
    preset.yaml, rows/ the published experiment, if it began with one, and its rows, each as in best/RECIPE
    trials/            checkpoints and tracebacks
    finals/, refits/   the finalists, trained again; in refits/ on train and val
    soups/             averaged finals that began with the same weights, each as in best/RECIPE
    best/RECIPE/       the configuration, weights and model card to take away
    best_configs.yaml  the best configurations of all recipes, with their results
    logs/              the output of Ray and W&B
    wandb/             runs that W&B has not received; wandb.json: its sweep
    tensorboard/       event files, if they were asked for
    report.json, trials.parquet, curves.parquet, report.md with its pictures in report/, report/index.html
    """

    folder: Path
    url: str | None = None

    def __str__(self) -> str:
        return self.url or str(self.folder)

    @classmethod
    def in_bucket(cls, url: str, cache: Path) -> "ExperimentFolder":
        """Return an experiment that is kept in a bucket, with its folder in this machine's cache."""
        name = url.rpartition("/")[2]
        return cls(cache / "experiments" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:16]}", url)

    @classmethod
    def open(cls, path: str | Path) -> "ExperimentFolder":
        """Open an experiment that exists. If it is in a bucket, bring all but trials/ and logs/ to this machine.

        Raises:
            InputError: there is no experiment at `path`.
        """
        if is_url(str(path)):
            return cls._brought(str(path).rstrip("/"))
        experiment = cls(Path(path).expanduser().absolute())
        if not experiment.folder.is_dir():
            there = Path(out_folder(), path)
            meant = f"{there}?" if cls(there).exists else "give one such as results/NAME"
            raise InputError(f"no experiment in {path}: there is no such folder; {meant}")
        if not experiment.exists:
            raise InputError(f"no experiment in {path}: it has no settings.yaml; give a folder such as results/NAME")
        return experiment

    @classmethod
    def _brought(cls, url: str) -> "ExperimentFolder":
        experiment = cls.in_bucket(url, cache_folder())
        place = replace(experiment.place, patience=0.0)
        try:
            if not place.exists(SETTINGS):
                raise InputError(f"no experiment in {url}: it has no settings.yaml; give one such as s3://BUCKET/NAME")
            place.fetch_all(leave_out=("trials", "logs"), last=FINAL)
        except OSError as error:
            raise InputError(f"{url}: cannot be read: {reason_of(error)}; {CREDENTIALS}") from None
        return experiment

    @property
    def place(self) -> SyncedFolder:
        """The folder, with its copy in a bucket."""
        return SyncedFolder(self.folder, self.url)

    @property
    def exists(self) -> bool:
        """True if the experiment was begun."""
        return (self.folder / SETTINGS).is_file()

    @property
    def taken(self) -> bool:
        """True if something is in its place already.

        Raises:
            InputError: the bucket cannot be read.
        """
        if self.url is None:
            return self.folder.exists()
        try:
            return not replace(self.place, patience=0.0).is_empty()
        except OSError as error:
            raise InputError(f"--out {self}: cannot be read: {reason_of(error)}; {CREDENTIALS}") from None

    @contextmanager
    def created(self) -> Iterator[None]:
        """Create the folder, and delete it again if the code that fills it fails.

        Raises:
            InputError: the folder cannot be created, or another process created it first.
        """
        if self.url is not None:
            shutil.rmtree(self.folder, ignore_errors=True)  # left by a namesake that was deleted in the bucket
        parents = [parent for parent in self.folder.parents if not parent.exists()]
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            raise InputError(f"{self.folder} exists; choose another --name") from None
        except OSError as error:
            raise InputError(
                f"--out {self.folder.parent}: {error.strerror}; choose a folder that can be written"
            ) from None
        try:
            try_writing(replace(self.place, patience=0.0))  # fail at once, without retries
            yield
        except BaseException:
            with suppress(OSError):
                replace(self.place, patience=0.0).remove()
            shutil.rmtree(self.folder)
            for parent in parents:
                parent.rmdir()
            raise

    @contextmanager
    def locked(self) -> Iterator[Taken]:
        """Keep other processes from searching here. The lock ends with this process, however the process ends.

        Yields:
            A function that returns an error if the lock was lost meanwhile, as a bucket's can be, else None.

        Raises:
            InputError: another process holds the lock, or the bucket is out of reach.
        """
        try:
            with FileLock(self.folder / LOCK, blocking=False):
                if self.url is None:
                    yield lambda: None
                else:
                    with leased(self.place) as taken:
                        yield taken
        except Timeout:
            raise InputError(f"{self} is being searched by another process; wait for it, or stop it") from None

    @property
    def is_searched(self) -> bool:
        """True while a process of this machine searches here."""
        lock = self.folder / LOCK
        if not lock.exists():
            return False
        try:
            with FileLock(lock, blocking=False):
                return False
        except Timeout:
            return True
        except OSError:  # the folder is read-only
            return False

    @property
    def shape(self) -> DataShape:
        """The sizes of the data."""
        return DataShape(**self.read("data.json")["shape"])

    def read(self, name: str) -> Any:
        """Read a JSON file of the folder."""
        return json.loads((self.folder / name).read_text())

    def write(self, name: str, content: Mapping[str, Any] | str) -> None:
        """Write a text, or a mapping as JSON or YAML by the name's ending. The file appears whole or not at all."""
        if isinstance(content, str):
            text = content
        elif name.endswith(".yaml"):
            text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
        else:
            text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        with self.writing(name) as draft:
            draft.write_text(text, encoding="utf-8")

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write a file of the folder to. The file appears whole or not at all."""
        with whole(self.folder / name) as draft:
            yield draft
        self.place.push(name)


def try_writing(place: SyncedFolder) -> None:
    """Write a file in --out or in an experiment's place, and delete it again.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        place.try_writing(".tried")
    except OSError as error:
        raise InputError(f"--out {place}: cannot be written: {reason_of(error)}; {CREDENTIALS}") from None
