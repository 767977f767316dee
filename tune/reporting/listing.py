"""Experiments, and the trials of one, as tables for a terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from search_spaces import InputError
from tune.experiment.folder import ExperimentFolder
from tune.experiment.report_json import Report, read_report
from tune.experiment.trial_record import TrialRecord
from tune.reporting.formatting import NOTHING, interval
from tune.settings.settings_file import SETTINGS, load

FIGURES = ("train_loss", "train_accuracy", "loss", "accuracy", "macro_f1", "lr", "seconds")
"""The figures shown for an epoch, if they are known."""


def experiments(folder: Path) -> Table:
    """Return a table of the experiments in a folder, the latest last.

    Raises:
        InputError: the folder does not exist or holds no experiment.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder yet; toprung search makes one")
    found = [there for place in sorted(folder.iterdir()) if (there := ExperimentFolder(place)).exists]
    if not found:
        raise InputError(f"{folder}: no experiment in it; give the --out of a search")
    found.sort(key=lambda experiment: (experiment.folder / SETTINGS).stat().st_mtime)
    table = _table(left=("experiment", "state"), fold=("data", "best on val"), right=("trials", "test accuracy"))
    for experiment in found:
        settings = load(experiment.folder / SETTINGS)
        report = _report(experiment)
        cells = (
            experiment.folder.name,
            _state(experiment, report),
            Path(str(settings.get("data", ""))).name,
            _best(report),
            _trials(report),
            _accuracy(report),
        )
        table.add_row(*map(Text, cells))
    return table


def trials(records: Iterable[TrialRecord], metric: str, *, searched: bool) -> Table:
    """Return a table of all trials, by number; `searched` is True while the search is running."""
    table = _table(left=("#", "recipe"), fold=("state", "note"), right=("epochs", f"val {metric}", "seconds"))
    for record in records:
        cells = (
            str(record.number),
            record.recipe,
            state_of(record, searched=searched),
            record.note,
            str(len(record.epochs)),
            _number(record.value),
            f"{record.seconds:.1f}",
        )
        table.add_row(*map(Text, cells))
    return table


def state_of(record: TrialRecord, *, searched: bool) -> str:
    """Return the state of a trial; a running trial that no process trains is stopped until the search resumes."""
    return "stopped" if record.state == "running" and not searched else record.state


def trial(record: TrialRecord) -> tuple[Table, Table]:
    """Return a trial's configuration and the figures of its epochs."""
    fields = _table(left=("field",), right=("value",))
    for name, value in record.config.items():
        fields.add_row(Text(name), Text(f"{value:.4g}" if isinstance(value, float) else str(value)))
    shown = [name for name in FIGURES if any(name in epoch for epoch in record.epochs)]
    epochs = _table(right=("epoch", *(name.replace("_", " ") for name in shown)))
    for number, epoch in enumerate(record.epochs, start=1):
        epochs.add_row(str(number), *(_number(epoch.get(name)) for name in shown))
    return fields, epochs


def _report(experiment: ExperimentFolder) -> Report | None:
    """Return the report; None if there is none that can be read."""
    try:
        return read_report(experiment)
    except InputError:
        return None


def _state(experiment: ExperimentFolder, report: Report | None) -> str:
    if experiment.is_searched:
        return "running"
    if report is None or report.running:
        return "stopped"
    if report.winner and report.untested and not report.failures:
        return "stopped"
    return "finished" if report.winner or report.preset else "nothing tested"


def _best(report: Report | None) -> str:
    """Return the winner, or the best recipe so far."""
    if report is None:
        return NOTHING
    if report.winner:
        return report.winner
    best = next((recipe for recipe, entry in report.recipes.items() if entry.val), None)
    return f"{best} so far" if best else NOTHING


def _trials(report: Report | None) -> str:
    return NOTHING if report is None else str(sum(recipe.trials.total for recipe in report.recipes.values()))


def _accuracy(report: Report | None) -> str:
    if not report or not report.best or not report.best.test:
        return NOTHING
    accuracy = report.best.test.accuracy
    return f"{accuracy.mean:.4f} ({interval(accuracy)})"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"


def _table(*, left: Sequence[str] = (), fold: Sequence[str] = (), right: Sequence[str] = ()) -> Table:
    """Return a table with these columns; text in columns of `fold` wraps where space is short."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in left:
        table.add_column(Text(heading), no_wrap=True)
    for heading in fold:
        table.add_column(Text(heading), overflow="fold")
    for heading in right:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    return table
