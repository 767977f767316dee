"""The computation of an experiment's `Report`, which is written as `report.json` and shown everywhere.

Recipes are ordered by rank. Nothing here is chosen on test.
"""

from collections import Counter

import numpy as np

from trainables.training.metrics import metric_names
from tune.experiment.report_figures import (
    AgainstTrainAlone,
    Calibration,
    Comparison,
    EnsembleTest,
    TrialCounts,
)
from tune.experiment.report_json import (
    DefaultReport,
    EnsembleReport,
    FinalistReport,
    FinalReport,
    PresetReport,
    RecipeReport,
    Report,
)
from tune.finals.calibration import expected_calibration_error, fit_temperature, reliability, scaled
from tune.finals.comparisons import compare, corrected
from tune.finals.ensembles import ensembles_of
from tune.finals.finalists import Final, Finalist
from tune.finals.intervals import intervals
from tune.reporting.cautions import warnings_of, warnings_of_rows
from tune.reporting.published_rows import row_report
from tune.reporting.results import Results, of_images, on_test


def summarize(results: Results) -> Report:
    """Return the report of an experiment."""
    metric = results.settings.metric

    def rank(recipe: str) -> tuple[bool, float]:
        entry = entries[recipe]
        return entry.test is None, results.settings.objective.cost((entry.val or {}).get(metric))

    against = _against(results)
    entries = {recipe: _entry(results, recipe, against.get(recipe)) for recipe in results.settings.recipes}
    ranked = sorted(entries, key=rank)
    preset = _preset(results)
    return Report(
        winner=results.winner.first.recipe if results.winner else None,
        metric=metric,
        tested_on=results.tested_on,
        trained_on=results.settings.final_train,
        seconds=results.seconds,
        default=_default(results),
        ensembles=_ensembles(results, ranked),
        preset=preset,
        recipes={recipe: entries[recipe] for recipe in ranked},
        warnings=[*results.card["warnings"], *warnings_of_rows(results, preset), *warnings_of(results, entries)],
        untested=[recipe for recipe in ranked if entries[recipe].is_untested],
        failures=results.failures,
    )


def trial_counts(results: Results, recipe: str) -> TrialCounts:
    """Count the trials of a recipe by state."""
    return TrialCounts.model_validate(Counter(record.state for record in results.of(recipe)))


def _entry(results: Results, recipe: str, against_winner: Comparison | None) -> RecipeReport:
    trials = trial_counts(results, recipe)
    if finalists := results.finalists_of(recipe):
        first, *others = finalists
        median = first.median(results.settings.metric)
        per_class, confusion = of_images(median.labels, median.predictions, results.classes)
        shown = _finalist(first)
        return RecipeReport(
            trials=trials,
            **dict(shown),
            weights=results.weights_of(recipe, shown.config),
            model=median.model,
            against_winner=against_winner,
            against_train_alone=_against_train_alone(first),
            calibration=_calibration(first.finals),
            per_class=per_class,
            confusion=confusion,
            median_seed=median.seed,
            finalists=list(map(_finalist, others)),
        )
    best = results.best(recipe)
    if best is None:
        return RecipeReport(trials=trials)
    figures = best.best_epoch or {}
    return RecipeReport(
        trials=trials,
        best_trial=best.number,
        config=best.config,
        weights=results.weights_of(recipe, best.config),
        val={name: figures[name] for name in metric_names() if name in figures},
    )


def _against_train_alone(finalist: Finalist) -> AgainstTrainAlone | None:
    """Compare a finalist also trained on val with its training on train alone; None if there is none."""
    before = finalist.on_train_alone
    if before is None:
        return None
    found = compare(finalist.first.labels, finalist.predictions, before.predictions).reported()
    return AgainstTrainAlone(accuracy=before.test()["accuracy"].mean, difference=found.difference, p=found.p)


def _default(results: Results) -> DefaultReport | None:
    """Return the default point of the winner's recipe, and the search's gain over it; None if it was not tested."""
    winner, default = results.winner, results.default
    if winner is None or default is None:
        return None
    gain = None
    if default is not winner:
        gain = compare(winner.first.labels, winner.predictions, default.predictions).reported()
    entry = _finalist(default)
    return DefaultReport(
        config=entry.config,
        val=entry.val,
        test=entry.test,
        finals=entry.finals,
        finals_on_train_alone=entry.finals_on_train_alone,
        gain=gain,
    )


def _against(results: Results) -> dict[str, Comparison]:
    """Compare the accuracy of each other tested recipe with the winner's, on the same images."""
    winner = results.winner
    if winner is None:
        return {}
    best = {recipe: own[0] for recipe in results.settings.recipes if (own := results.finalists_of(recipe))}
    del best[winner.first.recipe]
    labels, ours = winner.first.labels, winner.predictions
    found = {recipe: compare(labels, finalist.predictions, ours) for recipe, finalist in best.items()}
    return {recipe: comparison.reported() for recipe, comparison in corrected(found).items()}


def _calibration(finals: list[Final]) -> Calibration:
    """Measure the calibration of all seeds together, without and with the temperatures fitted on val."""
    temperatures = [fit_temperature(final.val_log_probabilities, final.val_labels) for final in finals]
    labels = np.concatenate([final.labels for final in finals])
    raw = reliability(np.concatenate([final.log_probabilities for final in finals]), labels)
    pairs = zip(finals, temperatures, strict=True)
    mended = reliability(np.concatenate([scaled(final.log_probabilities, t) for final, t in pairs]), labels)
    return Calibration(
        ece=expected_calibration_error(raw),
        temperature=float(np.mean(temperatures)),
        ece_with_temperature=expected_calibration_error(mended),
        bins=raw,
        bins_with_temperature=mended,
    )


def _ensembles(results: Results, ranked: list[str]) -> list[EnsembleReport]:
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
    return [
        EnsembleReport(
            mean_of=ensemble.mean_of,
            models=ensemble.models,
            val=ensemble.on_val().metrics,
            test=EnsembleTest.model_validate({"n": len(test.labels), **intervals([test])}),
            ece=expected_calibration_error(reliability(test.log_probabilities, test.labels)),
            against_winner=comparison.reported(),
        )
        for ensemble, test, comparison in zip(ensembles, found, compared.values(), strict=True)
    ]


def _preset(results: Results) -> PresetReport | None:
    """Return the preset with its published rows, by name."""
    if results.preset is None:
        return None
    rows = {row.name: row_report(results, row) for row in results.rows}
    return PresetReport(title=results.preset.title, notes=list(results.preset.notes), rows=rows)


def _finalist(finalist: Finalist) -> FinalistReport:
    return FinalistReport(
        best_trial=finalist.first.trial,
        config=finalist.first.config,
        val=finalist.val,
        test=on_test(finalist),
        finals=_finals(finalist),
        finals_on_train_alone=_finals(before) if (before := finalist.on_train_alone) else [],
    )


def _finals(finalist: Finalist) -> list[FinalReport]:
    """Return each final; one also trained on val has no val metrics, as they would say nothing."""
    return [
        FinalReport(seed=final.seed, epoch=final.epoch, val={} if final.val_of else final.val, test=final.test)
        for final in finalist.finals
    ]
