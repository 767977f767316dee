"""From settings to results: data, study, Ray Tuner, finals, report; and the same again to resume."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

# before Ray Tune is imported: it reads some of these then
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # CSV, JSON and TensorBoard files a trial
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # tables in the terminal, even at verbosity 0
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is handled here
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # GPUs are hidden by device, not by variable

import ray
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner, with_resources
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper
from rich.console import Console

from search_spaces import InputError, space_of
from trainables._data import DataSpec, Prepared, prepare
from tune.experiment import Experiment, environment
from tune.finals import choose, run_finals
from tune.progress import Progress
from tune.reporting import write_report
from tune.resources import Resources, allot, cluster_nodes, this_machine
from tune.scheduler import RecipeASHA, milestones
from tune.searcher import StudySearcher
from tune.settings import Settings
from tune.study import SearchStudy
from tune.trial import RecipeTrial, TrialSettings

NOTE_EVERY = 5.0
"""Seconds between notes of the time used, which a resumed search goes on from."""

OBJECT_STORE_BYTES = 128 * 2**20
"""Nothing large goes through Ray's object store: images and weights are files."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The search was stopped in order by a signal; it can be resumed."""


class Deadline(Stopper):
    """Ends a search when its time is used up, or when a person or the machine asks it to stop."""

    def __init__(self, study: SearchStudy, budget: float | None) -> None:
        self._study, self._budget = study, budget
        self._before, self._began = study.seconds, time.monotonic()
        self._noted = self._began
        self.searching, self.interrupted = True, False

    def used(self) -> float:
        """Seconds that the search has run, earlier processes included."""
        return self._before + time.monotonic() - self._began

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return self._budget is not None and self.used() >= self._budget

    def stop_all(self) -> bool:
        """Ray asks after every event."""
        if time.monotonic() - self._noted > NOTE_EVERY:
            self.note()
        return self.interrupted or self.over

    def note(self) -> None:
        """Write the time used into the study."""
        self._study.note_seconds(self.used())
        self._noted = time.monotonic()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped by itself here."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its Tuner for `Tuner.restore`, which is not used here."""
        return {}


def search(experiment: Experiment, settings: Settings, console: Console) -> Path:
    """Run a new search in the folder of `experiment`; returns the path of its report.

    Raises:
        InputError: the settings cannot be carried out; nothing was begun.
        Interrupted: it was stopped in order.
    """
    if experiment.folder.exists():
        raise InputError(
            f"--name {settings.name}: {experiment.folder} exists; choose another name, "
            f"or go on with it: --resume {experiment.folder}"
        )
    resources = _resources(settings)
    prepared = _prepare(settings, console)
    with experiment.created():
        _write(experiment, settings, prepared, resources)
        study = SearchStudy.create(experiment.storage, settings.name, maximize=settings.maximize)
    with experiment.locked():
        return _run(experiment, study, resources, console)


def resume(experiment: Experiment, settings: Settings, console: Console) -> Path:
    """Go on with a search from its study, with `settings` in place of those that it had.

    Raises:
        InputError: it cannot go on like this; nothing was changed.
        Interrupted: it was stopped in order.
    """
    resources = _resources(settings)
    prepared = _prepare(settings, console)
    if prepared.digest != experiment.read("data.json")["digest"]:
        raise InputError(
            f"--data {settings.data} is not what {experiment.folder} was begun with: images, labels or splits "
            "differ; bring the data back, or begin a new experiment"
        )
    with experiment.locked():
        study = SearchStudy.load(experiment.storage, settings.name)
        _write(experiment, settings, prepared, resources)
        return _run(experiment, study, resources, console)


def _resources(settings: Settings) -> Resources:
    if settings.address is None:
        return allot(settings, [this_machine()])
    _start_ray(address=settings.address)
    return allot(settings, *cluster_nodes())


def _prepare(settings: Settings, console: Console) -> Prepared:
    spec = DataSpec(
        source=settings.data,
        image_size=settings.image_size,
        fractions=settings.split,
        group_by=settings.group_by,
        limit=settings.limit,
        seed=settings.seed,
        on_bad_image=settings.on_bad_image,
    )
    with console.status(f"reading {settings.data}") as status:
        return prepare(
            spec,
            cache=Path(settings.cache).expanduser().absolute(),
            progress=lambda done, total: status.update(f"decoding {settings.data}: {done} of {total} images"),
        )


def _write(experiment: Experiment, settings: Settings, prepared: Prepared, resources: Resources) -> None:
    experiment.write("settings.yaml", settings.dump())
    experiment.write("environment.json", environment(resources.device, resources.threads))
    prepared.write(experiment.folder)


def _run(experiment: Experiment, study: SearchStudy, resources: Resources, console: Console) -> Path:
    settings = experiment.settings
    _describe_data(experiment.read("data.json"), console)
    trial_settings = TrialSettings(
        folder=str(experiment.folder),
        device=resources.device,
        threads=resources.threads,
        max_epochs=settings.max_epochs,
        metric=settings.metric,
        maximize=settings.maximize,
    )
    at = milestones(settings.grace_period, settings.reduction_factor, settings.max_epochs)
    deadline = Deadline(study, settings.time_budget)
    with _log_to(experiment.folder / "logs" / "driver.log"), _ray(resources), _stopping(deadline, console):
        if len(study.records) < settings.trials or any(r.state == "running" for r in study.records):
            _search(experiment, study, resources, trial_settings, at, deadline, console)
        deadline.note()
        if deadline.interrupted:
            raise Interrupted
        deadline.searching = False
        chosen = choose(study.records, at, settings.final_top, maximize=settings.maximize)
        with console.status("training the finalists") as status:
            finalists, failures = run_finals(
                experiment.folder,
                chosen,
                list(range(settings.seed, settings.seed + settings.final_seeds)),
                trial_settings,
                cpus=resources.cpus,
                gpus=resources.gpus,
                progress=lambda done, total: status.update(f"training the finalists: {done} of {total}"),
            )
    return write_report(experiment, study, finalists, failures, seconds=deadline.used())


def _search(
    experiment: Experiment,
    study: SearchStudy,
    resources: Resources,
    trial_settings: TrialSettings,
    at: list[int],
    deadline: Deadline,
    console: Console,
) -> None:
    settings = experiment.settings
    shape = experiment.shape
    searcher = StudySearcher(
        study,
        {recipe: space_of(recipe).clamped(shape, settings.domains(recipe)) for recipe in settings.recipes},
        trials=settings.trials,
        seed=settings.seed,
        adaptive=settings.allocate == "adaptive",
        settings=trial_settings,
    )
    scheduler = RecipeASHA(at, settings.reduction_factor, maximize=settings.maximize, known=study.records)
    progress = Progress(console, settings, study, deadline.used)
    tuner = Tuner(
        with_resources(RecipeTrial, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when it is enough
            max_concurrent_trials=resources.concurrent,
            reuse_actors=True,
            trial_dirname_creator=_short_name,
            trial_name_creator=_short_name,
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(experiment.folder / "logs"),
            verbose=0,
            stop=deadline,
            callbacks=[progress],
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),  # trials write their own
            failure_config=FailureConfig(max_failures=0),  # the searcher begins a trial again where that helps
        ),
    )
    with progress:
        tuner.fit()
    if deadline.over and not deadline.interrupted:
        searcher.stop("the time budget was used up")


def _short_name(trial: Trial) -> str:
    return f"{trial.config['number']:05d}-{trial.config['attempt']}"


def _describe_data(card: dict[str, Any], console: Console) -> None:
    images = ", ".join(f"{count} {split}" for split, count in card["images"].items())
    console.print(f"data: {card['source']}, {len(card['classes'])} classes, {images} images")
    for warning in card["warnings"]:
        console.print(f"warning: {warning}", style="yellow")


def _start_ray(**options: Any) -> None:
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


@contextmanager
def _ray(resources: Resources) -> Iterator[None]:
    """A Ray session on this machine, unless the process has one already."""
    if ray.is_initialized():
        yield
        return
    machine = this_machine()
    _start_ray(
        address="local",
        num_cpus=int(machine["CPU"]),
        num_gpus=int(machine["GPU"]),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stopping(deadline: Deadline, console: Console) -> Iterator[None]:
    """Ctrl-C or SIGTERM ends the search in order; a second one, or one during the finals, at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if deadline.interrupted or not deadline.searching:
            raise KeyboardInterrupt
        deadline.interrupted = True
        console.print("stopping in order; once more to stop at once")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """What Ray logs or prints goes to a file; the screen is the console's alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("ray")
    before, propagate = logger.handlers[:], logger.propagate
    with path.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.handlers, logger.propagate = [handler], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = before, propagate
