"""Model folders `best/RECIPE/` with a recipe's best configuration, weights and figures; one file for all recipes."""

import shutil
from dataclasses import asdict
from pathlib import Path

import yaml

from search_spaces import Choice, DataShape, Domain, Value, space_of
from trainables.data import read_card
from tune.experiment.input_variants import InputVariant, folder_of, shown_to
from tune.experiment.planned_rows import PlannedRow
from tune.experiment.report_json import RecipeReport, Report
from tune.finals.finalists import Final, Tested
from tune.finals.published_rows import result_of
from tune.finals.soups import Soup
from tune.reporting.formatting import finite
from tune.reporting.leaderboard import columns_of
from tune.reporting.results import Results

CONFIGURATIONS = "best_configs.yaml"


def write_best(results: Results, report: Report) -> None:
    """Write a model folder for each recipe with finals, from the seed of median val metric; remove the other folders.

    The folders of published rows in rows/ and of weight soups in soups/ become model folders, too. One file holds the
    configurations of all recipes.
    """
    results.experiment.write(CONFIGURATIONS, _configurations(results, report))
    for recipe in results.settings.recipes:
        finalists = results.finalists_of(recipe)
        if finalists:
            _write(results, finalists[0].median(results.settings.metric))
            for soup in results.soups_of(recipe):
                metrics = _metrics(results, soup, _data(results, soup), _of_soup(soup))
                results.experiment.write(f"soups/{soup.folder.name}/metrics.json", metrics)
        else:
            shutil.rmtree(results.experiment.folder / "best" / recipe, ignore_errors=True)
            results.experiment.place.remove(f"best/{recipe}")
    for row in results.rows:
        final = result_of(row, results.experiment)
        if final is not None:
            _write_row(results, row, final)


def configuration(results: Results, recipe: str, config: dict[str, Value]) -> str:
    """Return YAML that trains just this configuration, on any data: `toprung search --config FILE --data ...`."""
    outside = {"recipes_from": list(results.settings.recipes_from)} if results.settings.recipes_from else {}
    settings: dict[str, object] = {
        "recipes": [recipe],
        **outside,
        "trials": 1,
        "max_epochs": results.settings.max_epochs,
        "set": {f"{recipe}.{name}": value for name, value in _allowed(recipe, config).items()},
    }
    head = f"# {recipe}, the best of experiment {results.settings.name}: toprung search --config config.yaml --data ..."
    return f"{head}\n{yaml.safe_dump(settings, sort_keys=False)}"


def _configurations(results: Results, report: Report) -> str:
    """Return the best configuration of every recipe that has one, with its metrics, as YAML."""
    head = (
        f"# The best configuration of each recipe in experiment {results.settings.name}, ranked by val "
        f"{report.metric}; intervals are of 95%.\n"
        "# Search with one on other data: toprung search --config best/RECIPE/config.yaml --data path/to/folder\n"
    )
    best = [_reached(report, recipe, entry) for recipe, entry in report.recipes.items() if entry.config is not None]
    content = {"metric": report.metric, "tested_on": report.tested_on, "best": best}
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _reached(report: Report, recipe: str, entry: RecipeReport) -> dict[str, object]:
    test = entry.test
    return {
        "recipe": recipe,
        "trial": entry.best_trial,
        "seeds": test.seeds if test else [],
        "val": entry.val,
        "test": {column.name: asdict(test.metrics[column.name]) for column in columns_of(report)} if test else None,
        "config": entry.config,
        **({"weights": entry.weights.model_dump()} if entry.weights else {}),
    }


def _allowed(recipe: str, config: dict[str, Value]) -> dict[str, Value]:
    """Return a configuration inside its space; small data may have clamped a value to one outside, and will again."""
    return {name: _before_clamping(space_of(recipe).domains()[name], value) for name, value in config.items()}


def _before_clamping(domain: Domain, value: Value) -> Value:
    """Return the value or, if it is not in the domain, the domain's value that a limit brings down to it."""
    if isinstance(domain, Choice) and value not in domain:
        above = [option for option in domain.options if float(option) >= float(value)]
        return min(above, default=domain.nearest(value))
    return domain.nearest(value)


def _write(results: Results, final: Final) -> None:
    place = f"best/{final.recipe}"
    with results.experiment.writing(f"{place}/model.safetensors") as draft:
        shutil.copyfile(final.folder / "model.safetensors", draft)
    results.experiment.write(f"{place}/config.yaml", configuration(results, final.recipe, final.config))
    results.experiment.write(f"{place}/metrics.json", _metrics(results, final, _data(results, final), _of_final(final)))


def _write_row(results: Results, row: PlannedRow, final: Final) -> None:
    input_variant = InputVariant(
        space_of(final.recipe).of(final.config).input_variant, row.input_variants[0].image_size
    )
    data = folder_of(results.experiment, input_variant)
    results.experiment.write(f"rows/{row.name}/metrics.json", _metrics(results, final, data, _of_final(final)))


def _data(results: Results, tested: Tested) -> Path:
    """Return the folder of the data in the input variant of a model from the search."""
    input_variant = shown_to(space_of(tested.recipe).of(tested.config), results.settings)
    return folder_of(results.experiment, input_variant)


def _of_final(final: Final) -> dict[str, object]:
    return {"trial": final.trial, "seed": final.seed, "epoch": final.epoch}


def _of_soup(soup: Soup) -> dict[str, object]:
    return {"soup": soup.kind, "members": soup.members}


def _metrics(results: Results, tested: Tested, data: Path, made_of: dict[str, object]) -> dict[str, object]:
    """Return figures, and the facts `Classifier` needs to load the weights.

    `data` is the folder of the data in the model's input variant.
    """
    card = read_card(data)
    samples = sum(card["images"][split] for split in tested.train_on.split("+"))  # a kNN keeps them all
    metrics: dict[str, object] = finite(
        {
            "recipe": tested.recipe,
            "config": tested.config,
            **made_of,
            "trained_on": tested.train_on,
            "seconds": tested.seconds,
            "val": tested.val,
            "test": tested.test,
            "model": tested.model.model_dump() if tested.model else None,
            "classes": results.classes,
            "shape": {**asdict(DataShape(**card["shape"])), "samples": samples},
            "variant": card["variant"],
            "data": card["digest"],
        }
    )
    return metrics
