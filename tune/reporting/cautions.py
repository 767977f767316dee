"""The warnings of a report: facts to know before trusting its figures."""

from collections.abc import Mapping

from tune.experiment.report_json import PresetReport, RecipeReport
from tune.reporting.formatting import counted
from tune.reporting.results import Results


def warnings_of_rows(results: Results, preset: PresetReport | None) -> list[str]:
    """Return the warnings that a person should read before trusting the figures of the published rows."""
    if results.preset is None or preset is None:
        return []
    warnings = []
    if left_out := results.preset.rows.keys() - {row.name for row in results.rows}:
        recipes = ", ".join(sorted({results.preset.rows[name].recipe for name in left_out}))
        warnings.append(f"{counted(len(left_out), 'published row')} not run, as --recipes leaves out {recipes}")
    if results.rows and not results.card["images"]["test"]:
        warnings.append("no test split: the published rows are measured on val")
    random = [entry.title for entry in preset.rows.values() if (entry.config or {}).get("pretrained") == "no"]
    if random:
        warnings.append(f"published rows that began with random weights, not with pretrained ones: {'; '.join(random)}")
    return warnings


def warnings_of(results: Results, entries: Mapping[str, RecipeReport]) -> list[str]:
    """Return the warnings that a person should read before trusting the figures of the search."""
    if results.settings.rows_only:
        return []
    warnings = []
    if not results.card["images"]["test"]:
        warnings.append(
            "no test split: winners were measured on val, which they were chosen on, so the figures are too good"
        )
    tested = [entry for entry in entries.values() if entry.test]
    if not tested:
        warnings.append("no recipe was tested, as no finalist was trained")
    if any(len(entry.finals) == 2 for entry in tested):
        warnings.append("with 2 seeds, intervals are too narrow where seeds differ much: --final-seeds 3 or more")
    for recipe, entry in entries.items():
        if (entry.config or {}).get("pretrained") == "no":
            warnings.append(f"{recipe}: its best began with random weights, not with pretrained ones")
        trials = entry.trials
        if not trials.total:
            warnings.append(f"{recipe}: no trial was begun")
        elif entry.best_trial is None and not trials.running:
            if trials.pruned:  # stopped by the time budget before there was any value
                warnings.append(f"{recipe}: the time budget was used up before a trial had trained an epoch")
            else:
                first = next(record for record in results.of(recipe) if record.state == "failed")
                warnings.append(f"{recipe}: all of its {counted(trials.failed, 'trial')} failed: {first.note}")
        elif tested and entry.is_untested:
            warnings.append(f"{recipe}: not tested, as its best trial was not trained again")
    if running := sum(entry.trials.running for entry in entries.values()):
        warnings.append(
            f"{counted(running, 'trial')} not finished when this was written; if it was stopped, --resume goes on"
        )
    return warnings
