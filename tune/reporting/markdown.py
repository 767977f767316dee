"""`report.md`: the results as Markdown, to be pasted into a pull request."""

from collections.abc import Mapping, Sequence

from tune.experiment.report_figures import ClassFigures
from tune.experiment.report_json import Report
from tune.models.cost import HEADINGS, notes
from tune.models.cost import cells as model_cells
from tune.reporting import published_rows as _published
from tune.reporting.command import command
from tune.reporting.figures.pictures import file_of
from tune.reporting.findings import answer, findings
from tune.reporting.formatting import TIMES, duration, metric, percent, setting
from tune.reporting.leaderboard import leaderboard
from tune.reporting.leaderboard_text import (
    cells,
    ensemble_cells,
    ensemble_headings,
    ensembles,
    headings,
    rows,
)
from tune.reporting.markup import code, plain, table
from tune.reporting.results import Results, began_with

LISTED = 50
"""The number of skipped images listed by name."""


def markdown(results: Results, report: Report, pictures: Mapping[str, str]) -> str:
    """Return the whole report; `pictures` maps the name of each existing picture to its description."""
    parts = [
        f"# {plain(results.settings.name)}",
        *_published_rows(report, pictures),
        *(_search(report, pictures) if results.records or not results.settings.rows_only else []),
        *_list("Warnings", report.warnings),
        *_list("Failed finals", report.failures),
        *_list("Pretrained weights", began_with(report)),
        *_configurations(report),
        *_models(report),
        *_classes(report, pictures),
        *_calibration(report),
        *_data(results),
        *_skipped(results),
        *_repeat(results),
    ]
    return "\n\n".join(parts) + "\n"


def _picture(pictures: Mapping[str, str], name: str, caption: str = "") -> list[str]:
    """Return a picture with its caption, if the picture exists."""
    if name not in pictures:
        return []
    return [*([caption] if caption else []), f"![{plain(pictures[name])}]({file_of(name)})"]


def _published_rows(report: Report, pictures: Mapping[str, str]) -> list[str]:
    if not report.preset or not report.rows:
        return []
    entries = report.rows.values()
    return [
        f"## Published and measured: {plain(report.preset.title)}",
        table(_published.headings(), (line for entry in entries for line in _published.cells(entry))),
        *_picture(pictures, "published"),
        *_list("Notes", report.preset.notes),
        *_list("Chosen by cross-validation", _published.chosen(entries)),
        *_list("Not as published", _published.not_as_published(entries)),
        *_list("Pretrained weights of the rows", _published.pretrained(entries)),
    ]


def _search(report: Report, pictures: Mapping[str, str]) -> list[str]:
    board = leaderboard(report)
    return [
        plain(" ".join([answer(report), *findings(report)])),
        table(headings(board), map(cells, rows(board))),
        *_picture(pictures, "leaderboard"),
        *_ensembles(report),
        f"Ranked on val, mean over the seeds{_on_train_alone(report)}. "
        "Intervals: Wilson's for a single model's accuracy, else the bootstrap's. "
        "Against the winner: on the same images, by McNemar's mid-p for single models, else a paired bootstrap; with "
        "Holm's correction, of p and of the interval of the difference.",
        *_picture(pictures, "curves", "Learning curves. Bold: best of its recipe; faint: stopped early."),
        *_picture(pictures, "progress", "Progress. Dots: trials; line: best so far."),
    ]


def _on_train_alone(report: Report) -> str:
    both = report.trained_on
    return "" if both == "train" else f" trained on train alone; tested are those trained on {both}"


def _ensembles(report: Report) -> list[str]:
    lines = [ensemble_cells(row) for row in ensembles(report)]
    if not lines:
        return []
    return [
        "Together, as one classifier, by the mean of their probabilities or, in a soup, of their weights:",
        table(ensemble_headings(report), lines),
    ]


def _calibration(report: Report) -> list[str]:
    found = {recipe: entry.calibration for recipe, entry in report.recipes.items() if entry.calibration}
    lines = (
        [recipe, percent(each.ece), f"{each.temperature:.2f}", percent(each.ece_with_temperature)]
        for recipe, each in found.items()
    )
    names = ["recipe", "expected calibration error", "temperature from val", "error with it"]
    return ["## Calibration", table(names, lines)] if found else []


def _configurations(report: Report) -> list[str]:
    parts = []
    for recipe, entry in report.recipes.items():
        if entry.config is not None:
            fields = ", ".join(f"{name} {setting(value)}" for name, value in entry.config.items())
            parts.append(f"- **{plain(recipe)}**, trial {entry.best_trial}: {plain(fields)}")
    return ["## Best configurations", "\n".join(parts)] if parts else []


def _models(report: Report) -> list[str]:
    models = {recipe: entry.model for recipe, entry in report.recipes.items() if entry.model}
    if not models:
        return []
    figures = table(["recipe", *HEADINGS], ([recipe, *model_cells(model)] for recipe, model in models.items()))
    return ["## Models", figures, plain(notes(list(models.values())))]


def _classes(report: Report, pictures: Mapping[str, str]) -> list[str]:
    entry = report.best
    if report.winner is None or entry is None:
        return []
    return [
        f"## Classes: {plain(report.winner)}, seed {entry.median_seed}",
        class_table(entry.per_class or {}, f"{report.tested_on} images"),
        *_picture(pictures, "confusion", f"Confusion on {report.tested_on}."),
    ]


def class_table(per_class: Mapping[str, ClassFigures], images: str) -> str:
    """Return the figures of each class; the column of image counts has the heading `images`."""
    lines = (
        [name, metric(figures.precision), metric(figures.recall), metric(figures.f1), str(figures.support)]
        for name, figures in per_class.items()
    )
    return table(["class", "precision", "recall", "F1", images], lines)


def _data(results: Results) -> list[str]:
    card, shape = results.card, results.experiment.shape
    images = ", ".join(f"{count:,} {split}" for split, count in card["images"].items())
    facts = f"{card['source']}: {images} images of {shape.classes} classes, {shape.width} {TIMES} {shape.height} pixels"
    return ["## Data", f"{plain(facts)}, digest {card['digest'][:16]}."]


def _skipped(results: Results) -> list[str]:
    bad = results.card["bad_images"]
    lines = [f"{image['path']}: {image['reason']}" for image in bad[:LISTED]]
    more = [f"and {len(bad) - LISTED} more, in data.json"] if len(bad) > LISTED else []
    return _list("Skipped images", lines + more)


def _repeat(results: Results) -> list[str]:
    environment = results.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    machine = f"Python {environment['python']} on {environment['platform']}, {environment['device']}"
    return [
        "## Repeat it",
        code(command(results.settings, results.preset)),
        plain(f"Took {duration(results.seconds)}. {machine}; {packages}."),
    ]


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {plain(line)}" for line in lines)] if lines else []
