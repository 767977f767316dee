"""The trials of a search under Ray Tune: searcher, scheduler, trainable and stopper, put together."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner, with_resources
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from search_spaces import Domains, Space
from tune.cluster.ray_session import variables
from tune.experiment.trial_files import TrialFiles
from tune.tuning.asha import RecipeASHA
from tune.tuning.deadline import Deadline
from tune.tuning.progress import Progress
from tune.tuning.search_context import SearchContext
from tune.tuning.searcher import StudySearcher
from tune.tuning.trainable import RecipeTrial


def searched_domains(search: SearchContext) -> dict[str, Domains]:
    """Return the searched domains of each recipe, and warn of restrictions that the data narrow further."""
    settings = search.settings
    domains = {recipe: search.experiment.domains(recipe) for recipe in settings.recipes}
    for key, text in settings.set.items():
        recipe, _, name = key.partition(".")
        if domains[recipe][name] != settings.domains(recipe)[name]:
            left = domains[recipe][name]
            search.console.print(f"warning: --set {key}={text}: these data allow {left}", style="yellow")
    return domains


def run_trials(
    search: SearchContext, domains: Mapping[str, Domains], starts: Mapping[str, Sequence[Space]]
) -> str | None:
    """Run the missing trials, until there are enough or the search must end.

    Args:
        search: the search.
        domains: the searched domains of each recipe.
        starts: configurations of each recipe to try after its default.

    Returns:
        The error with which the first trials have all failed, in which case the search is hopeless; else None.
    """
    settings, study, resources = search.settings, search.study, search.resources
    scheduler = RecipeASHA(
        settings.milestones,
        settings.reduction_factor,
        maximize=settings.objective.maximize,
        known=study.records,
    )
    searcher = StudySearcher(search, domains, starts, scheduler.errors)
    progress = Progress(search.console, settings, study, search.deadline.used, concurrent=resources.concurrent)
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
                stop=_SearchStopper(search.deadline, searcher),
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
    return searcher.hopeless


def end_unfinished(search: SearchContext) -> None:
    """Close the trials that the time budget has cut off."""
    unfinished = [record for record in search.study.records if record.state == "running"]
    if unfinished:
        search.console.print(f"note: the time budget is used up; trials that were still running: {len(unfinished)}")
    for record in unfinished:
        search.study.end(record.number, "pruned", "the time budget was used up")
        with suppress(OSError):
            TrialFiles(search.experiment.place, record.number).discard_checkpoints()


class _SearchStopper(Stopper):
    """A stopper that ends all trials at the deadline, or if they are hopeless. It stops no single trial."""

    def __init__(self, deadline: Deadline, searcher: StudySearcher) -> None:
        self._deadline, self._searcher = deadline, searcher

    def stop_all(self) -> bool:
        """Return True if the search must end. Ray asks after every event."""
        return self._deadline.reached() or self._searcher.hopeless is not None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: single trials are stopped by the scheduler."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Ray pickles its Tuner for `Tuner.restore`, which is not used here."""
        return {}


def _short_name(trial: Trial) -> str:
    return f"{trial.config['number']:05d}-{trial.config['attempt']}"
