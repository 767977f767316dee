"""The conductor of a search: settings, inputs, study, published rows, trials, finals, report; and resuming one."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from search_spaces import InputError
from trainables.storage.synced_folder import patiently
from tune.cluster.checks import check_machine, prepare_cluster
from tune.cluster.ray_session import connect, log_to, ray_environment, ray_session
from tune.cluster.resources import Resources, allot, cluster_nodes, this_machine
from tune.experiment.environment import environment
from tune.experiment.experiment import Experiment
from tune.experiment.inputs import SearchInputs
from tune.experiment.planned_rows import PlannedRow, planned_rows
from tune.experiment.study import SearchStudy
from tune.experiment.study_backup import StudyBackup, backed_up
from tune.experiment.trial_ranking import choose
from tune.finals.finalists import Finalist
from tune.finals.finals import train_finals
from tune.finals.published_rows import run_rows, starting_points
from tune.reporting.report import write_report
from tune.reporting.tensorboard_events import require_tensorboard
from tune.settings.groups import HERE
from tune.settings.preset import PRESET, file_of, read_preset
from tune.settings.settings import Settings
from tune.settings.settings_file import SETTINGS
from tune.terminal.console import quiet_optuna, working
from tune.tracking import tracked
from tune.tuning.deadline import Deadline, HopelessError, Interrupted, stopping
from tune.tuning.search_context import SearchContext
from tune.tuning.searcher import HOPELESS_AFTER
from tune.tuning.tuner import end_unfinished, run_trials, searched_domains

DRIVER_LOG = "logs/driver.log"


@quiet_optuna()
@ray_environment()
def search(experiment: Experiment, console: Console) -> Path:
    """Run a new search in the folder of `experiment`, and return the path of its report.

    Raises:
        InputError: the settings cannot be carried out; nothing was begun.
        Interrupted: the search was asked to stop, and stopped in order.
    """
    settings = experiment.settings
    if experiment.taken:
        raise InputError(
            f"--name {settings.name}: {experiment} exists; choose another name, or go on with it: --resume {experiment}"
        )
    preset = read_preset(file_of(settings.preset)) if settings.preset else None
    _check(settings, console)
    inputs = SearchInputs.prepare(settings, preset, console)
    resources = _resources(settings)
    with ExitStack() as stack:
        with experiment.created(), ExitStack() as undo:
            taken = stack.enter_context(experiment.locked())
            backup = StudyBackup.of(experiment)
            if backup:
                backup.clear()
            url = backup.url if backup else experiment.storage
            # Create the study before the settings. The settings make the folder an experiment to other processes, which
            # would create tables in a study that has none.
            study = SearchStudy.create(url, settings.name, maximize=settings.objective.maximize, taken=taken)
            undo.callback(study.close)
            undo.callback(study.delete)  # in a storage that others share, the name would stay taken
            if backup:
                backup.copy()
            if preset:
                experiment.write(PRESET, file_of(str(settings.preset)).read_text())
            experiment.write(SETTINGS, settings.dump())
            inputs.write(experiment)
            experiment.write("environment.json", environment(resources.device, resources.threads))
            prepare_cluster(experiment, inputs, resources, console)
            undo.pop_all()
        stack.enter_context(closing(study))
        stack.enter_context(backed_up(backup, study, console))
        stack.enter_context(tracked(experiment, url, settings, console))
        return _carry_out(experiment, study, resources, console)


@quiet_optuna()
@ray_environment()
def resume(experiment: Experiment, console: Console) -> Path:
    """Resume a search from its study, and return the path of its report.

    The settings of `experiment` may differ from those in its folder, as `tune.cli.flags.resumed_with` allows.

    Raises:
        InputError: the search cannot be resumed like this; nothing was changed.
        Interrupted: the search was asked to stop, and stopped in order.
    """
    settings = experiment.settings
    _check(settings, console)
    inputs = SearchInputs.prepare(settings, experiment.preset, console)
    if inputs.digest != experiment.read("data.json")["digest"]:
        raise InputError(
            f"--data {settings.data} is not what {experiment} was begun with: images, labels or splits "
            "differ; bring the data back, or begin a new experiment"
        )
    resources = _resources(settings)
    before, now = experiment.read("environment.json"), environment(resources.device, resources.threads)
    earlier = before.pop("earlier", [])
    if before != now:
        changed = ", ".join(key for key in now if before.get(key) != now[key])
        console.print(f"warning: not the environment that it was begun in: {changed} differ", style="yellow")
    with ExitStack() as stack:
        with working(console, f"looking whether another machine searches in {experiment}"):
            taken = stack.enter_context(experiment.locked())
        backup = StudyBackup.of(experiment)
        if backup:
            backup.fetch(settings.name)
        url = backup.url if backup else experiment.storage
        study = stack.enter_context(closing(SearchStudy.load(url, settings.name, taken=taken)))
        begun = study.begun
        if settings.trials < begun:
            raise InputError(f"--trials {settings.trials}: {experiment} has {begun} already; give as many or more")
        inputs.write(experiment)  # the same data, with the paths of this machine
        prepare_cluster(experiment, inputs, resources, console)
        study.begin_process()
        if backup:  # before any trial begins: a process that resumes elsewhere is then a later one
            patiently(backup.copy)
        stack.enter_context(backed_up(backup, study, console))
        experiment.write(SETTINGS, settings.dump())
        if before != now:
            earlier.append({**before, "trials": len(study.records)})
            experiment.write("environment.json", {**now, "earlier": earlier})
        stack.enter_context(tracked(experiment, url, settings, console))
        return _carry_out(experiment, study, resources, console)


def _check(settings: Settings, console: Console) -> None:
    """Refuse at once any settings that would fail only after minutes."""
    if settings.tensorboard:
        require_tensorboard()
    check_machine(settings, console)


def _resources(settings: Settings) -> Resources:
    if settings.address == HERE:
        return allot(settings, [this_machine()])
    connect(settings.address)
    return allot(settings, *cluster_nodes())


def _carry_out(experiment: Experiment, study: SearchStudy, resources: Resources, console: Console) -> Path:
    """Run all stages of a search, skipping what is done, and return the path of its report."""
    settings = experiment.settings
    _describe_data(experiment.read("data.json"), settings, console)
    deadline = Deadline(study, settings.time_budget)
    rows = planned_rows(experiment)
    stages = SearchContext(experiment=experiment, study=study, resources=resources, deadline=deadline, console=console)

    def report(finalists: list[Finalist], failures: list[str]) -> Path:
        return patiently(lambda: write_report(experiment, study.records, finalists, failures, seconds=deadline.used()))

    with (
        _pushed(experiment, DRIVER_LOG),
        log_to(experiment.folder / DRIVER_LOG),
        ray_session(console),
        stopping(deadline, console, str(experiment)),
    ):
        row_failures = []
        if rows:
            with deadline.sparing():
                row_failures = run_rows(stages, rows)
        if settings.rows_only:
            return report([], row_failures)
        _run_trials(stages, rows)
        chosen = choose(study.records, settings.milestones, settings.final_top, maximize=settings.objective.maximize)
        finalists, failures = train_finals(stages, chosen)
    deadline.note()
    return report(finalists, row_failures + failures)


def _run_trials(search: SearchContext, rows: list[PlannedRow]) -> None:
    """Run the missing trials, and close those that the time budget cuts off.

    Raises:
        Interrupted: the search was asked to stop.
        HopelessError: the first trials have all failed alike.
    """
    study, deadline, console = search.study, search.deadline, search.console
    missing = study.begun < search.settings.trials
    error = None
    if not deadline.over and (missing or any(record.state == "running" for record in study.records)):
        domains = searched_domains(search)
        starts = starting_points(search.experiment, rows, domains)
        error = run_trials(search, domains, starts)
    deadline.note()
    if deadline.interrupted:
        raise Interrupted
    if error:
        raise HopelessError(
            f"the first {HOPELESS_AFTER} trials failed alike: {error}; see {search.experiment}/trials, "
            f"mend it, and go on with: toprung search --resume {search.experiment}"
        )
    if study.begun < search.settings.trials and not deadline.over:
        console.print(
            f"note: {study.begun} trials instead of {search.settings.trials}: there are no more configurations"
        )
    end_unfinished(search)
    deadline.end_searching()
    failed = [record for record in study.records if record.state == "failed"]
    if failed:
        first = f"trial {failed[0].number} {failed[0].recipe}: {failed[0].note}"
        text = f"warning: trials that failed: {len(failed)}, see {search.experiment}/trials; {first}"
        console.print(Text(text, style="yellow"), soft_wrap=True)


@contextmanager
def _pushed(experiment: Experiment, name: str) -> Iterator[None]:
    """Copy a file to the experiment's storage afterwards, even if the code that writes it fails."""
    try:
        yield
    finally:
        with suppress(OSError):
            replace(experiment.place, patience=0.0).push(name)


def _describe_data(card: dict[str, Any], settings: Settings, console: Console) -> None:
    images = ", ".join(f"{count} {split}" for split, count in card["images"].items() if count)
    if settings.progress != "none":
        console.print(f"data: {card['source']}, {len(card['classes'])} classes, {images} images")
    for warning in card["warnings"]:
        console.print(f"warning: {warning}", style="yellow")
