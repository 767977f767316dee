"""The summary `report.json`: the results of a search for programs, and the source of the rest of the report.

Its schema is `report.schema.json`. Recipes are ordered by rank. Nothing here is chosen on test.
"""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from trainables.training.metric_names import VAL_METRICS
from tune.experiment.trial_record import State
from tune.finals.calibration import expected_calibration_error, fit_temperature, reliability, scaled
from tune.finals.comparisons import compare, corrected
from tune.finals.ensembles import ensembles_of
from tune.finals.finalists import Final, Finalist
from tune.finals.intervals import intervals
from tune.reporting.formatting import counted, finite
from tune.reporting.published_rows import entry_of
from tune.reporting.results import Results, of_images, on_test

STATES: tuple[State, ...] = ("complete", "pruned", "failed", "running")

Summary = dict[str, Any]


def summarize(results: Results) -> Summary:
    """Return the summary of an experiment, ready for JSON."""
    metric = results.settings.metric

    def rank(recipe: str) -> tuple[bool, float]:
        entry = entries[recipe]
        return entry["test"] is None, results.loss_of((entry["val"] or {}).get(metric))

    entries = {recipe: _entry(results, recipe) for recipe in results.settings.recipes}
    ranked = sorted(entries, key=rank)
    for recipe, comparison in _against(results).items():
        entries[recipe]["against_winner"] = comparison
    preset = _preset(results)
    summary: Summary = finite(
        {
            "winner": results.winner.first.recipe if results.winner else None,
            "metric": metric,
            "tested_on": results.tested_on,
            "trained_on": results.settings.final_train,
            "seconds": results.seconds,
            "default": _default(results),
            "ensembles": _ensembles(results, ranked),
            "preset": preset,
            "recipes": {recipe: entries[recipe] for recipe in ranked},
            "warnings": [*results.card["warnings"], *_warnings_of_rows(results, preset), *_warnings(results, entries)],
            "untested": [recipe for recipe in ranked if _is_untested(entries[recipe])],
            "failures": results.failures,
        }
    )
    return summary


def _is_untested(entry: dict[str, Any]) -> bool:
    """Return True if a recipe has a best trial but no tested final."""
    return entry["best_trial"] is not None and entry["test"] is None


def _entry(results: Results, recipe: str) -> dict[str, Any]:
    states = Counter(record.state for record in results.of(recipe))
    entry: dict[str, Any] = {
        "trials": {state: states[state] for state in STATES},
        "best_trial": None,
        "config": None,
        "weights": None,
        "model": None,
        "val": None,
        "test": None,
        "against_winner": None,
        "against_train_alone": None,
        "finals": [],
        "finals_on_train_alone": [],
        "calibration": None,
        "per_class": None,
        "confusion": None,
        "median_seed": None,
        "finalists": [],
    }
    if finalists := results.finalists_of(recipe):
        shown, *others = map(_finalist, finalists)
        median = finalists[0].median(results.settings.metric)
        entry |= shown | of_images(median.labels, median.predictions, results.classes)
        entry |= {"median_seed": median.seed, "model": median.model, "finalists": others}
        entry["against_train_alone"] = _against_train_alone(finalists[0])
        entry["calibration"] = _calibration(finalists[0].finals)
    elif best := results.best(recipe):
        figures = best.best_epoch or {}
        val = {name: figures[name] for name in VAL_METRICS if name in figures}
        entry |= {"best_trial": best.number, "config": best.config, "val": val}
    if entry["config"]:
        entry["weights"] = results.weights_of(recipe, entry["config"])
    return entry


def _against_train_alone(finalist: Finalist) -> dict[str, Any] | None:
    """Compare a finalist also trained on val with its training on train alone; None if there is none."""
    before = finalist.on_train_alone
    if before is None:
        return None
    comparison = compare(finalist.first.labels, finalist.predictions, before.predictions)
    return {"accuracy": before.test()["accuracy"].mean, **comparison.entry()}


def _default(results: Results) -> dict[str, Any] | None:
    """Return the default point of the winner's recipe, and the search's gain over it; None if it was not tested."""
    winner, default = results.winner, results.default
    if winner is None or default is None:
        return None
    found = None
    if default is not winner:
        found = compare(winner.first.labels, winner.predictions, default.predictions).entry()
    entry = _finalist(default)
    return {**{key: entry[key] for key in ("config", "val", "test", "finals", "finals_on_train_alone")}, "gain": found}


def _against(results: Results) -> dict[str, dict[str, Any]]:
    """Compare the accuracy of each other tested recipe with the winner's, on the same images."""
    winner = results.winner
    if winner is None:
        return {}
    best = {recipe: own[0] for recipe in results.settings.recipes if (own := results.finalists_of(recipe))}
    del best[winner.first.recipe]
    labels, ours = winner.first.labels, winner.predictions
    found = {recipe: compare(labels, finalist.predictions, ours) for recipe, finalist in best.items()}
    return {recipe: comparison.entry() for recipe, comparison in corrected(found).items()}


def _calibration(finals: list[Final]) -> dict[str, Any]:
    """Measure the calibration of all seeds together, without and with the temperatures fitted on val."""
    temperatures = [fit_temperature(final.val_log_probabilities, final.on_val[0]) for final in finals]
    labels = np.concatenate([final.labels for final in finals])
    raw = reliability(np.concatenate([final.log_probabilities for final in finals]), labels)
    pairs = zip(finals, temperatures, strict=True)
    mended = reliability(np.concatenate([scaled(final.log_probabilities, t) for final, t in pairs]), labels)
    return {
        "ece": expected_calibration_error(raw),
        "temperature": float(np.mean(temperatures)),
        "ece_with_temperature": expected_calibration_error(mended),
        "bins": list(map(asdict, raw)),
        "bins_with_temperature": list(map(asdict, mended)),
    }


def _ensembles(results: Results, ranked: list[str]) -> list[dict[str, Any]]:
    """Return the metrics of ensembles and soups of the recipes' finals, compared with the winner."""
    winner = results.winner
    if winner is None:
        return []
    finalists = [own for recipe in ranked if (own := results.finalists_of(recipe))]
    ensembles = ensembles_of(finalists, [soup for recipe in ranked for soup in results.soups_of(recipe)])
    found = [ensemble.on_test() for ensemble in ensembles]
    compared = corrected(
        {
            str(number): compare(winner.first.labels, test.predictions[None], winner.predictions)
            for number, test in enumerate(found)
        }
    )
    entries = []
    for ensemble, test, comparison in zip(ensembles, found, compared.values(), strict=True):
        assert test.log_probabilities is not None
        tested = intervals(test.labels, test.predictions[None], test.classes)
        entries.append(
            {
                "mean_of": ensemble.mean_of,
                "models": ensemble.models,
                "val": ensemble.on_val().metrics,
                "test": {**{name: asdict(values) for name, values in tested.items()}, "n": len(test.labels)},
                "ece": expected_calibration_error(reliability(test.log_probabilities, test.labels)),
                "against_winner": comparison.entry(),
            }
        )
    return entries


def _preset(results: Results) -> dict[str, Any] | None:
    """Return the preset with its published rows, by name."""
    if results.preset is None:
        return None
    rows = {row.name: entry_of(results, row) for row in results.rows}
    return {"title": results.preset.title, "notes": list(results.preset.notes), "rows": rows}


def _finalist(finalist: Finalist) -> dict[str, Any]:
    return {
        "best_trial": finalist.first.trial,
        "config": finalist.first.config,
        "val": finalist.val,
        "test": on_test(finalist),
        "finals": _finals(finalist),
        "finals_on_train_alone": _finals(before) if (before := finalist.on_train_alone) else [],
    }


def _finals(finalist: Finalist) -> list[dict[str, Any]]:
    """Return each final; one also trained on val has no val metrics, as they would say nothing."""
    return [
        {"seed": final.seed, "epoch": final.epoch, "val": {} if final.val_of else final.val, "test": final.test}
        for final in finalist.finals
    ]


def _warnings_of_rows(results: Results, preset: dict[str, Any] | None) -> list[str]:
    """Return the warnings that a person should read before trusting the figures of the published rows."""
    if results.preset is None or preset is None:
        return []
    warnings = []
    if left_out := results.preset.rows.keys() - {row.name for row in results.rows}:
        recipes = ", ".join(sorted({results.preset.rows[name].recipe for name in left_out}))
        warnings.append(f"{counted(len(left_out), 'published row')} not run, as --recipes leaves out {recipes}")
    if results.rows and not results.card["images"]["test"]:
        warnings.append("no test split: the published rows are measured on val")
    random = [entry["title"] for entry in preset["rows"].values() if (entry["config"] or {}).get("pretrained") == "no"]
    if random:
        warnings.append(f"published rows that began with random weights, not with pretrained ones: {'; '.join(random)}")
    return warnings


def _warnings(results: Results, entries: dict[str, dict[str, Any]]) -> list[str]:
    """Return the warnings that a person should read before trusting the figures of the search."""
    if results.settings.rows_only:
        return []
    warnings = []
    if not results.card["images"]["test"]:
        warnings.append(
            "no test split: winners were measured on val, which they were chosen on, so the figures are too good"
        )
    tested = [entry for entry in entries.values() if entry["test"]]
    if not tested:
        warnings.append("no recipe was tested, as no finalist was trained")
    if any(len(entry["finals"]) == 2 for entry in tested):
        warnings.append("with 2 seeds, intervals are too narrow where seeds differ much: --final-seeds 3 or more")
    for recipe, entry in entries.items():
        if (entry["config"] or {}).get("pretrained") == "no":
            warnings.append(f"{recipe}: its best began with random weights, not with pretrained ones")
        trials = entry["trials"]
        if not any(trials.values()):
            warnings.append(f"{recipe}: no trial was begun")
        elif entry["best_trial"] is None and not trials["running"]:
            if trials["pruned"]:  # stopped by the time budget before there was any value
                warnings.append(f"{recipe}: the time budget was used up before a trial had trained an epoch")
            else:
                first = next(record for record in results.of(recipe) if record.state == "failed")
                warnings.append(f"{recipe}: all of its {counted(trials['failed'], 'trial')} failed: {first.note}")
        elif tested and _is_untested(entry):
            warnings.append(f"{recipe}: not tested, as its best trial was not trained again")
    if running := sum(entry["trials"]["running"] for entry in entries.values()):
        warnings.append(
            f"{counted(running, 'trial')} not finished when this was written; if it was stopped, --resume goes on"
        )
    return warnings
