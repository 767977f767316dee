"""`report.md`: the results as Markdown, to be pasted into a pull request."""

from collections.abc import Mapping, Sequence

from tune.models.cost import HEADINGS, notes
from tune.models.cost import cells as model_cells
from tune.reporting import published_rows as _published
from tune.reporting.command import command
from tune.reporting.figures.pictures import file_of
from tune.reporting.formatting import TIMES, duration, metric, percent, setting
from tune.reporting.leaderboard import (
    answer,
    cells,
    ensemble_cells,
    ensemble_headings,
    ensembles,
    findings,
    headings,
    rows,
)
from tune.reporting.markup import code, plain, table
from tune.reporting.results import Results, began_with
from tune.reporting.summary import Summary

LISTED = 50
"""The number of skipped images listed by name."""


def markdown(results: Results, summary: Summary, pictures: Mapping[str, str]) -> str:
    """Return the whole report; `pictures` maps the name of each existing picture to its description."""
    parts = [
        f"# {plain(results.settings.name)}",
        *_published_rows(summary, pictures),
        *(_search(summary, pictures) if results.records or not results.settings.rows_only else []),
        *_list("Warnings", summary["warnings"]),
        *_list("Failed finals", summary["failures"]),
        *_list("Pretrained weights", began_with(summary)),
        *_configurations(summary),
        *_models(summary),
        *_classes(summary, pictures),
        *_calibration(summary),
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


def _published_rows(summary: Summary, pictures: Mapping[str, str]) -> list[str]:
    if not summary["preset"] or not summary["preset"]["rows"]:
        return []
    entries = summary["preset"]["rows"].values()
    return [
        f"## Published and measured: {plain(summary['preset']['title'])}",
        table(_published.headings(), (line for entry in entries for line in _published.cells(entry))),
        *_picture(pictures, "published"),
        *_list("Notes", summary["preset"]["notes"]),
        *_list("Chosen by cross-validation", _published.chosen(entries)),
        *_list("Not as published", _published.not_as_published(entries)),
        *_list("Pretrained weights of the rows", _published.pretrained(entries)),
    ]


def _search(summary: Summary, pictures: Mapping[str, str]) -> list[str]:
    return [
        plain(" ".join([answer(summary), *findings(summary)])),
        table(headings(summary), (cells(row) for row in rows(summary))),
        *_picture(pictures, "leaderboard"),
        *_ensembles(summary),
        f"Ranked on val, mean over the seeds{_on_train_alone(summary)}. "
        "Intervals: Wilson's for a single model's accuracy, else the bootstrap's. "
        "Against the winner: on the same images, by McNemar's mid-p for single models, else a paired bootstrap; with "
        "Holm's correction, of p and of the interval of the difference.",
        *_picture(pictures, "curves", "Learning curves. Bold: best of its recipe; faint: stopped early."),
        *_picture(pictures, "progress", "Progress. Dots: trials; line: best so far."),
    ]


def _on_train_alone(summary: Summary) -> str:
    both = summary["trained_on"]
    return "" if both == "train" else f" trained on train alone; tested are those trained on {both}"


def _ensembles(summary: Summary) -> list[str]:
    lines = [ensemble_cells(row) for row in ensembles(summary)]
    if not lines:
        return []
    return [
        "Together, as one classifier, by the mean of their probabilities or, in a soup, of their weights:",
        table(ensemble_headings(summary), lines),
    ]


def _calibration(summary: Summary) -> list[str]:
    found = {recipe: entry["calibration"] for recipe, entry in summary["recipes"].items() if entry["calibration"]}
    lines = (
        [recipe, percent(each["ece"]), f"{each['temperature']:.2f}", percent(each["ece_with_temperature"])]
        for recipe, each in found.items()
    )
    names = ["recipe", "expected calibration error", "temperature from val", "error with it"]
    return ["## Calibration", table(names, lines)] if found else []


def _configurations(summary: Summary) -> list[str]:
    parts = []
    for recipe, entry in summary["recipes"].items():
        if entry["config"] is not None:
            fields = ", ".join(f"{name} {setting(value)}" for name, value in entry["config"].items())
            parts.append(f"- **{plain(recipe)}**, trial {entry['best_trial']}: {plain(fields)}")
    return ["## Best configurations", "\n".join(parts)] if parts else []


def _models(summary: Summary) -> list[str]:
    models = {recipe: entry["model"] for recipe, entry in summary["recipes"].items() if entry["model"]}
    if not models:
        return []
    figures = table(["recipe", *HEADINGS], ([recipe, *model_cells(model)] for recipe, model in models.items()))
    return ["## Models", figures, plain(notes(list(models.values())))]


def _classes(summary: Summary, pictures: Mapping[str, str]) -> list[str]:
    if summary["winner"] is None:
        return []
    entry = summary["recipes"][summary["winner"]]
    lines = (
        [name, *(metric(figures[key]) for key in ("precision", "recall", "f1")), str(figures["support"])]
        for name, figures in entry["per_class"].items()
    )
    return [
        f"## Classes: {plain(summary['winner'])}, seed {entry['median_seed']}",
        table(["class", "precision", "recall", "F1", f"{summary['tested_on']} images"], lines),
        *_picture(pictures, "confusion", f"Confusion on {summary['tested_on']}."),
    ]


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
