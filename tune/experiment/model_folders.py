"""The model folders of an experiment that was reported: winners, published rows and soups."""

from pathlib import Path

from search_spaces import InputError
from tune.experiment.folder import ExperimentFolder
from tune.experiment.report_json import read_report


def winner_folder(experiment: ExperimentFolder, recipe: str | None = None) -> Path:
    """Return the folder of a recipe's winner or, without `recipe`, of the winner of all recipes.

    Raises:
        InputError: no recipe was tested yet, or not this one.
    """
    tested = recipes_tested(experiment)
    if not tested and (rows := row_folders(experiment)):
        raise InputError(
            f"{experiment} has no winner, as only the rows of its preset were tested; give one of them: "
            f"{', '.join(map(str, rows))}"
        )
    if not tested:
        raise InputError(
            f"{experiment} has no winner, as no recipe was tested; go on with it: toprung search --resume {experiment}"
        )
    if recipe is not None and recipe not in tested:
        raise InputError(f"--recipe {recipe}: {experiment} has no winner of it; it has: {', '.join(tested)}")
    return experiment.folder / "best" / (recipe or tested[0])


def recipes_tested(experiment: ExperimentFolder) -> list[str]:
    """Return the recipes that were tested, the best first."""
    report = read_report(experiment)
    return [recipe for recipe, entry in report.recipes.items() if entry.test] if report else []


def winner_folders(experiment: ExperimentFolder) -> list[Path]:
    """Return the folders of the recipes that were tested, the best first."""
    return [experiment.folder / "best" / recipe for recipe in recipes_tested(experiment)]


def row_folders(experiment: ExperimentFolder) -> list[Path]:
    """Return the folders of the published rows that were tested, in the order of the preset."""
    report = read_report(experiment)
    return [experiment.folder / "rows" / name for name, row in report.rows.items() if row.test] if report else []


def soup_folders(experiment: ExperimentFolder) -> list[Path]:
    """Return the folders of the weight soups."""
    return [file.parent for file in sorted((experiment.folder / "soups").glob("[!.]*/metrics.json"))]
