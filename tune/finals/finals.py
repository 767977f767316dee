"""The finals of a search: finalists, the winner's default point, trainings on train and val, and soups."""

from collections.abc import Sequence

from tune.experiment.trial_record import TrialRecord
from tune.finals.finalists import Candidate, Finalist, load_default, load_finalists, winner_of
from tune.finals.soups import pool_of, run_soups
from tune.finals.training import run_finals, run_refits
from tune.tuning.search_context import SearchContext


def train_finals(search: SearchContext, chosen: Sequence[TrialRecord]) -> tuple[list[Finalist], list[str]]:
    """Train the chosen trials' configurations and the winner's default point, both also on val if asked; make soups.

    Returns the finalists, and a line for each training that failed.
    """
    settings, folder = search.settings, search.experiment.folder
    on_train = settings.model_copy(update={"final_train": "train"})
    failures = run_finals(search, [Candidate.of(record) for record in chosen], "finalists trained")
    trials = [record.number for record in chosen]
    finalists = load_finalists(folder, trials, on_train)
    winner = winner_of(finalists, settings)
    if winner is None:
        return [], failures
    recipe = winner.first.recipe
    default = Candidate(recipe, search.experiment.default(recipe))
    trained = list(finalists)
    if default.config not in [each.first.config for each in finalists if each.first.recipe == recipe]:
        failures += run_finals(search, [default], "seeds of the winner's default point trained")
        if of_default := load_default(folder, recipe, on_train):
            trained.append(of_default)
    if settings.final_train != "train":
        finals = [final for each in trained for final in each.finals]
        failures += run_refits(search, finals, f"finals trained on {settings.final_train}")
        finalists = load_finalists(folder, trials, settings)
    own = ([each for each in finalists if each.first.recipe == recipe] for recipe in settings.recipes)
    if pools := [pool for each in own if (pool := pool_of(each, settings))]:
        failures += run_soups(search, pools, "weight soups made")
    return finalists, failures
