"""Searches, from settings to results: data, study, Ray Tuner, finals and report; and the same again to resume one."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner, with_resources
from ray.tune.experiment import Trial
from rich.console import Console
from rich.text import Text

from search_spaces import InputError
from trainables.data import Prepared, prepare_input_variants
from trainables.storage.pretrained_files import Weights, share_weights, write_weights
from trainables.storage.synced_folder import patiently, reason_of
from trainables.training.protocol import import_recipes
from tune.cluster.machine import Finding, differences, examined, look, on_node, places_of
from tune.cluster.nodes import prepare_nodes
from tune.cluster.ray_session import connect, log_to, ray_environment, ray_session, variables
from tune.cluster.resources import Resources, Slots, allot, cluster_nodes, this_machine
from tune.experiment.environment import environment
from tune.experiment.folder import Experiment
from tune.experiment.input_variants import (
    InputVariant,
    folder_of,
    folders_of,
    input_variants_of,
    main_input_variant,
    searched_input_variants,
    spec_of,
)
from tune.experiment.planned_rows import PlannedRow, planned_rows
from tune.experiment.pretrained import pretrained_weights
from tune.experiment.study import SearchStudy
from tune.experiment.study_backup import StudyBackup, backed_up
from tune.experiment.train_samples import keep_samples
from tune.experiment.trial_context import DATA_FILES, TrialContext
from tune.experiment.trial_files import TrialFiles
from tune.experiment.trial_ranking import choose
from tune.experiment.trial_record import TrialRecord
from tune.finals.finalists import Candidate, Finalist, load_default, load_finalists, winner_of
from tune.finals.published_rows import run_rows, starting_points
from tune.finals.soups import pool_of, run_soups
from tune.finals.training import run_finals, run_refits
from tune.reporting.report import write_report
from tune.reporting.tensorboard_events import require_tensorboard
from tune.settings.preset import PRESET, Preset, file_of, read_preset
from tune.settings.settings import HERE, SETTINGS, Settings
from tune.terminal.console import clock, quiet_optuna, working
from tune.tracking import tracked
from tune.tuning.asha import RecipeASHA
from tune.tuning.deadline import Deadline, HopelessError, Interrupted, stopping
from tune.tuning.progress import Progress
from tune.tuning.searcher import ALIKE, StudySearcher
from tune.tuning.trainable import RecipeTrial

LOG = "logs/driver.log"


@quiet_optuna()
@ray_environment()
def search(experiment: Experiment, settings: Settings, console: Console) -> Path:
    """Run a new search in the folder of `experiment`, and return the path of its report.

    Raises:
        InputError: the settings cannot be carried out; nothing was begun.
        Interrupted: the search was asked to stop, and stopped in order.
    """
    if experiment.taken:
        raise InputError(
            f"--name {settings.name}: {experiment} exists; choose another name, or go on with it: --resume {experiment}"
        )
    preset = read_preset(file_of(settings.preset)) if settings.preset else None
    _look_here(settings, console)
    input_variants = _prepare(settings, preset, console)
    weights = pretrained_weights(settings, preset, input_variants, console)
    resources = _resources(settings)
    with ExitStack() as stack:
        with experiment.created(), ExitStack() as undo:
            taken = stack.enter_context(experiment.locked())
            backup = StudyBackup.of(experiment, settings)
            if backup:
                backup.clear()
            url = backup.url if backup else experiment.storage_with(settings)
            # Create the study before the settings. The settings make the folder an experiment to other processes, which
            # would create tables in a study that has none.
            study = SearchStudy.create(url, settings.name, maximize=settings.maximize)
            undo.callback(study.close)
            undo.callback(study.delete)  # in a storage that others share, the name would stay taken
            if backup:
                backup.copy()
            if preset:
                experiment.write(PRESET, file_of(str(settings.preset)).read_text())
            experiment.write(SETTINGS, settings.dump())
            _write_data(experiment, input_variants, weights)
            experiment.write("environment.json", environment(resources.device, resources.threads))
            _prepare_nodes(experiment, settings, input_variants, weights, resources, console)
            undo.pop_all()
        stack.enter_context(closing(study))
        study.taken = taken
        stack.enter_context(backed_up(backup, study, console))
        stack.enter_context(tracked(experiment, url, settings, console))
        return _run(experiment, study, resources, console)


@quiet_optuna()
@ray_environment()
def resume(experiment: Experiment, settings: Settings, console: Console) -> Path:
    """Resume a search from its study, with `settings` in place of its earlier ones, and return the path of its report.

    Raises:
        InputError: the search cannot be resumed like this; nothing was changed.
        Interrupted: the search was asked to stop, and stopped in order.
    """
    _look_here(settings, console)
    input_variants = _prepare(settings, experiment.preset, console)
    if input_variants[main_input_variant(settings)].digest != experiment.read("data.json")["digest"]:
        raise InputError(
            f"--data {settings.data} is not what {experiment} was begun with: images, labels or splits "
            "differ; bring the data back, or begin a new experiment"
        )
    weights = pretrained_weights(settings, experiment.preset, input_variants, console)
    resources = _resources(settings)
    before, now = experiment.read("environment.json"), environment(resources.device, resources.threads)
    earlier = before.pop("earlier", [])
    if before != now:
        changed = ", ".join(key for key in now if before.get(key) != now[key])
        console.print(f"warning: not the environment that it was begun in: {changed} differ", style="yellow")
    with ExitStack() as stack:
        with working(console, f"looking whether another machine searches in {experiment}"):
            taken = stack.enter_context(experiment.locked())
        backup = StudyBackup.of(experiment, settings)
        if backup:
            backup.fetch(settings.name)
        url = backup.url if backup else experiment.storage
        study = stack.enter_context(closing(SearchStudy.load(url, settings.name)))
        study.taken = taken
        begun = sum(record.counts for record in study.records)
        if settings.trials < begun:
            raise InputError(f"--trials {settings.trials}: {experiment} has {begun} already; give as many or more")
        _write_data(experiment, input_variants, weights)  # the same data, with the paths of this machine
        _prepare_nodes(experiment, settings, input_variants, weights, resources, console)
        study.begin_process()
        if backup:  # before any trial begins: a process that resumes elsewhere is then a later one
            patiently(backup.copy)
        stack.enter_context(backed_up(backup, study, console))
        experiment.write(SETTINGS, settings.dump())
        if before != now:
            earlier.append({**before, "trials": len(study.records)})
            experiment.write("environment.json", {**now, "earlier": earlier})
        stack.enter_context(tracked(experiment, url, settings, console))
        return _run(experiment, study, resources, console)


def _look_here(settings: Settings, console: Console) -> None:
    """Refuse at once any settings that would fail only after minutes; `toprung doctor` checks more."""
    if settings.tensorboard:
        require_tensorboard()
    if settings.wandb == "off" and (given := settings.of_wandb()):
        raise InputError(f"--{given[0].replace('_', '-')}: is for W&B, which is off; add --wandb online or offline")
    trains_on_gpus = settings.address == HERE and settings.gpus_per_trial != 0
    _heed(examined(look(places_of(settings)), trains_on_gpus=trains_on_gpus), console)


def _heed(findings: Iterable[Finding], console: Console) -> None:
    """Print the warnings, and raise InputError if there are errors. Findings that are fine are not printed."""
    errors = []
    for finding in findings:
        if finding.level == "warning":
            console.print(f"warning: {finding.text}", style="yellow", markup=False, soft_wrap=True)
        elif finding.level == "error":
            errors.append(finding.text)
    if errors:
        raise InputError("; ".join(errors))


def _resources(settings: Settings) -> Resources:
    if settings.address == HERE:
        return allot(settings, [this_machine()])
    connect(settings.address)
    return allot(settings, *cluster_nodes())


def _prepare_nodes(
    experiment: Experiment,
    settings: Settings,
    input_variants: dict[InputVariant, Prepared],
    weights: dict[str, Weights],
    resources: Resources,
    console: Console,
) -> None:
    """Give every node of a cluster the files that it needs, and let it check the rest."""
    if settings.address == HERE:
        return
    with working(console, "copying images and weights to where all nodes see them"):
        try:
            for prepared in input_variants.values():
                prepared.share(settings.out)
            share_weights(weights.values(), settings.out)
        except OSError as error:
            raise InputError(f"--out {settings.out}: cannot be written: {reason_of(error)}") from None
    of_trials = _trial_settings(experiment, settings, resources)
    shown = [replace(of_trials, folders=folders_of(experiment, [input_variant])) for input_variant in input_variants]
    with working(console, "preparing the nodes") as say:
        found = prepare_nodes(
            shown, places_of(settings), progress=lambda done, total: say(f"preparing the nodes: {done} of {total}")
        )
    here = look({})
    for there, has_gpus in found:
        findings = examined(there, trains_on_gpus=has_gpus and resources.gpus > 0)
        _heed(on_node(there.host, [*findings, *differences(there, here)]), console)


def _trial_settings(experiment: Experiment, settings: Settings, resources: Resources) -> TrialContext:
    """Return the trial context of a search."""
    return TrialContext(
        folders=folders_of(experiment, searched_input_variants(settings)),
        experiment=str(experiment.folder),
        copied_to=experiment.url,
        shared=None if settings.address == HERE else settings.out,
        device=resources.device,
        threads=resources.threads,
        max_epochs=settings.max_epochs,
        metric=settings.metric,
        maximize=settings.maximize,
        recipes_from=settings.recipes_from,
    )


def _prepare(settings: Settings, preset: Preset | None, console: Console) -> dict[InputVariant, Prepared]:
    """Return the data in each input variant that the search or a published row uses."""
    import_recipes(settings.recipes)
    input_variants = input_variants_of(preset, settings)
    with working(console, f"reading {settings.data}") as say:
        prepared = prepare_input_variants(
            [spec_of(settings, input_variant) for input_variant in input_variants],
            cache=Path(settings.cache),
            progress=lambda done, total: say(f"decoding {settings.data}: {done} of {total} images"),
        )
    found = dict(zip(input_variants, prepared, strict=True))
    if settings.final_train != "train" and not found[main_input_variant(settings)].card["images"]["test"]:
        raise InputError(
            f"--final-train {settings.final_train}: there is no test split, and val does not measure what was trained "
            "on it; leave test some with --split, or train finals on train"
        )
    return found


def _write_data(
    experiment: Experiment, input_variants: dict[InputVariant, Prepared], weights: dict[str, Weights]
) -> None:
    for input_variant, prepared in input_variants.items():
        folder = folder_of(experiment, input_variant)
        prepared.write(folder)
        write_weights(folder, weights)
        experiment.place.sub(os.path.relpath(folder, experiment.folder)).push(*DATA_FILES)
    keep_samples(experiment)


def _run(experiment: Experiment, study: SearchStudy, resources: Resources, console: Console) -> Path:
    settings = experiment.settings
    _describe_data(experiment.read("data.json"), settings, console)
    of_trials = _trial_settings(experiment, settings, resources)
    at = settings.milestones
    deadline = Deadline(study, settings.time_budget)
    rows = planned_rows(experiment)

    def report(finalists: list[Finalist], failures: list[str]) -> Path:
        return patiently(lambda: write_report(experiment, study.records, finalists, failures, seconds=deadline.used()))

    with (
        _pushed(experiment, LOG),
        log_to(experiment.folder / LOG),
        ray_session(console),
        stopping(deadline, console, str(experiment)),
    ):
        row_failures = _train_rows(experiment, rows, resources, of_trials, deadline, console) if rows else []
        if settings.rows_only:
            return report([], row_failures)
        missing = sum(r.counts for r in study.records) < settings.trials
        if not deadline.over and (missing or any(r.state == "running" for r in study.records)):
            _search(experiment, study, resources, of_trials, at, rows, deadline, console)
        deadline.note()
        if deadline.interrupted:
            raise Interrupted
        if error := deadline.hopeless():
            raise HopelessError(
                f"the first {ALIKE} trials failed alike: {error}; see {experiment}/trials, mend it, and go on with: "
                f"toprung search --resume {experiment}"
            )
        begun = sum(record.counts for record in study.records)
        if begun < settings.trials and not deadline.over:
            console.print(f"note: {begun} trials instead of {settings.trials}: there are no more configurations")
        unfinished = [record for record in study.records if record.state == "running"]
        if unfinished:
            console.print(f"note: the time budget is used up; trials that were still running: {len(unfinished)}")
        for record in unfinished:
            study.end(record.number, "pruned", "the time budget was used up")
            with suppress(OSError):
                TrialFiles(experiment.place, record.number).discard_checkpoints()
        deadline.searching = False
        chosen = choose(study.records, at, settings.final_top, maximize=settings.maximize)
        failed = [record for record in study.records if record.state == "failed"]
        if failed:
            first = f"trial {failed[0].number} {failed[0].recipe}: {failed[0].note}"
            text = f"warning: trials that failed: {len(failed)}, see {experiment}/trials; {first}"
            console.print(Text(text, style="yellow"), soft_wrap=True)
        finalists, failures = _finals(experiment, chosen, resources, of_trials, deadline, console)
    deadline.note()
    return report(finalists, row_failures + failures)


def _finals(
    experiment: Experiment,
    chosen: list[TrialRecord],
    resources: Resources,
    of_trials: TrialContext,
    deadline: Deadline,
    console: Console,
) -> tuple[list[Finalist], list[str]]:
    """Train the finalists and the winner's default point, both also on val if asked; then make soups of the finalists.

    Returns the finalists, and a line for each training that failed.
    """
    settings, folder = experiment.settings, experiment.folder
    on_train = settings.model_copy(update={"final_train": "train"})

    @contextmanager
    def shown(what: str) -> Iterator[dict[str, Any]]:
        with working(console, what) as say:
            progress = _counted(what, say, deadline, settings, console)
            yield {"cpus": resources.cpus, "gpus": resources.gpus, "progress": progress}

    with shown("finalists trained") as how:
        failures = run_finals([Candidate.of(record) for record in chosen], settings.seeds_of_finals, of_trials, **how)
    trials = [record.number for record in chosen]
    finalists = load_finalists(folder, trials, on_train)
    winner = winner_of(finalists, settings)
    if winner is None:
        return [], failures
    recipe = winner.first.recipe
    default = Candidate(recipe, experiment.default(recipe))
    trained = list(finalists)
    if default.config not in [each.first.config for each in finalists if each.first.recipe == recipe]:
        with shown("seeds of the winner's default point trained") as how:
            failures += run_finals([default], settings.seeds_of_finals, of_trials, **how)
        if of_default := load_default(folder, recipe, on_train):
            trained.append(of_default)
    if settings.final_train != "train":
        with shown(f"finals trained on {settings.final_train}") as how:
            failures += run_refits((final for each in trained for final in each.finals), of_trials, **how)
        finalists = load_finalists(folder, trials, settings)
    own = ([each for each in finalists if each.first.recipe == recipe] for recipe in settings.recipes)
    if pools := [pool for each in own if (pool := pool_of(each, settings))]:
        with shown("weight soups made") as how:
            failures += run_soups(pools, of_trials, **how)
    return finalists, failures


@contextmanager
def _pushed(experiment: Experiment, name: str) -> Iterator[None]:
    """Copy a file to the experiment's storage afterwards, even if the code that writes it fails."""
    try:
        yield
    finally:
        with suppress(OSError):
            replace(experiment.place, patience=0.0).push(name)


def _counted(
    what: str, say: Callable[[str], None], deadline: Deadline, settings: Settings, console: Console
) -> Callable[[int, int], None]:
    """Return a function that shows how many trainings are done, in place or as lines; `what` is the label."""

    def show(done: int, total: int) -> None:
        say(f"{what}: {done} of {total}")
        deadline.note()
        if not console.is_terminal and settings.progress != "none":
            console.print(f"{clock(deadline.used())} {what}: {done} of {total}")

    return show


def _train_rows(
    experiment: Experiment,
    rows: list[PlannedRow],
    resources: Resources,
    trial_settings: TrialContext,
    deadline: Deadline,
    console: Console,
) -> list[str]:
    """Train the published rows that are not yet trained, and return a line for each that failed."""
    with deadline.sparing(), working(console, "training the published rows") as say:
        return run_rows(
            experiment,
            rows,
            trial_settings,
            cpus=resources.cpus,
            gpus=resources.gpus,
            progress=_counted("published rows trained", say, deadline, experiment.settings, console),
        )


def _search(
    experiment: Experiment,
    study: SearchStudy,
    resources: Resources,
    trial_settings: TrialContext,
    at: list[int],
    rows: list[PlannedRow],
    deadline: Deadline,
    console: Console,
) -> None:
    settings = experiment.settings
    domains = {recipe: experiment.domains(recipe) for recipe in settings.recipes}
    for key, text in settings.set.items():
        recipe, _, name = key.partition(".")
        if domains[recipe][name] != settings.domains(recipe)[name]:
            left = domains[recipe][name]
            console.print(f"warning: --set {key}={text}: these data allow {left}", style="yellow")
    scheduler = RecipeASHA(at, settings.reduction_factor, maximize=settings.maximize, known=study.records)
    searcher = StudySearcher(
        study,
        domains,
        trials=settings.trials,
        seed=settings.seed,
        adaptive=settings.allocate == "adaptive",
        settings=trial_settings,
        starts=starting_points(experiment, rows, domains),
        slots=Slots(settings, resources.concurrent),
        errors=scheduler.errors,
    )
    deadline.hopeless = lambda: searcher.hopeless
    progress = Progress(console, settings, study, deadline.used, concurrent=resources.concurrent)
    # an autoscaler then sees all waiting trials, and starts their nodes side by side
    side_by_side = variables({"TUNE_MAX_PENDING_TRIALS_PG": str(resources.concurrent)})
    with side_by_side, TemporaryDirectory(prefix="toprung-ray-") as files:  # Ray's files are not read, and can be lost
        tuner = Tuner(
            with_resources(RecipeTrial, {"cpu": resources.cpus, "gpu": resources.gpus}),
            tune_config=TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # the searcher decides when there are enough
                reuse_actors=True,
                trial_dirname_creator=_short_name,
                trial_name_creator=_short_name,
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=files,
                verbose=0,
                stop=deadline,
                callbacks=[progress],
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),  # trials write their own
                failure_config=FailureConfig(max_failures=0),  # the searcher retries a trial where that helps
            ),
        )
        with progress:
            try:
                tuner.fit()
                searcher.discard()
            except Exception:
                if error := study.taken() or study.gone:  # Ray takes it for a trial's, and wraps it
                    raise error from None
                raise


def _short_name(trial: Trial) -> str:
    return f"{trial.config['number']:05d}-{trial.config['attempt']}"


def _describe_data(card: dict[str, Any], settings: Settings, console: Console) -> None:
    images = ", ".join(f"{count} {split}" for split, count in card["images"].items() if count)
    if settings.progress != "none":
        console.print(f"data: {card['source']}, {len(card['classes'])} classes, {images} images")
    for warning in card["warnings"]:
        console.print(f"warning: {warning}", style="yellow")
