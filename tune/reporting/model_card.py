"""Model cards `best/RECIPE/README.md`, one per tested recipe, in the format of the Hugging Face hub."""

from typing import Any

import yaml

from tune.models.cost import HEADINGS, notes
from tune.models.cost import cells as model_cells
from tune.reporting.command import command
from tune.reporting.formatting import TIMES, counted, interval, metric, percent, setting, spread
from tune.reporting.markup import code, plain, table
from tune.reporting.results import Results, source
from tune.reporting.summary import Summary

METADATA = {"library_name": "toprung", "pipeline_tag": "image-classification", "metrics": ["accuracy", "f1"]}
"""The metadata that the hub reads."""


def model_card(results: Results, summary: Summary, recipe: str) -> str:
    """Return the model card of a tested recipe; its figures are means over all seeds."""
    entry = summary["recipes"][recipe]
    parts = [
        f"---\n{yaml.safe_dump(METADATA, sort_keys=False)}---",
        f"# {plain(recipe)}, the best of {plain(results.settings.name)}",
        *_use(results, entry, recipe),
        *_figures(summary, entry),
        *_training(results, entry),
        *_limits(summary),
        "## How it was found",
        code(command(results.settings, results.preset)),
    ]
    return "\n\n".join(parts) + "\n"


def _use(results: Results, entry: dict[str, Any], recipe: str) -> list[str]:
    boxes = entry["config"].get("input_variant") == "box"
    given = '["a.jpg"], boxes=[(10, 20, 200, 100)]' if boxes else '["a.jpg"]'
    says = "; it looks at boxes (x, y, width, height in pixels), and needs them of every image" if boxes else ""
    lines = (
        "from trainables import Classifier",
        "",
        f'classifier = Classifier.load("best/{recipe}")',
        f"probabilities = classifier.predict({given})  # (1, {len(results.classes)})",
    )
    names = ", ".join(map(plain, results.classes[:30]))
    more = f" and {len(results.classes) - 30} more" if len(results.classes) > 30 else ""
    return [f"Tells {len(results.classes)} classes apart: {names}{more}{says}.", code("\n".join(lines), "python")]


def _figures(summary: Summary, entry: dict[str, Any]) -> list[str]:
    test, seeds = entry["test"], entry["test"]["seeds"]
    where = f"{counted(test['n'], 'image')} of {summary['tested_on']}, {counted(len(seeds), 'seed')}"
    names = ("accuracy", "macro_f1", "macro_precision", "macro_recall", "weighted_f1")
    calibration = entry["calibration"]
    classes = (
        [name, *(metric(figures[key]) for key in ("precision", "recall", "f1")), str(figures["support"])]
        for name, figures in entry["per_class"].items()
    )
    return [
        f"## Figures\n\nOn {where}; the weights here are of seed {entry['median_seed']}, the median on val.",
        table(
            ["metric", "mean", "over seeds", "95% interval"],
            ([name, metric(test[name]["mean"]), spread(test[name]), interval(test[name])] for name in names),
        ),
        f"Expected calibration error {percent(calibration['ece'])}; with logits divided by "
        f"{calibration['temperature']:.2f}, fitted on val, {percent(calibration['ece_with_temperature'])}.",
        f"Of each class, by seed {entry['median_seed']}:",
        table(["class", "precision", "recall", "F1", "images"], classes),
    ]


def _training(results: Results, entry: dict[str, Any]) -> list[str]:
    card, shape = results.card, results.experiment.shape
    images = ", ".join(f"{count:,} {split}" for split, count in card["images"].items() if count)
    lines = [
        f"data: {card['source']}, {images} images, {shape.width} {TIMES} {shape.height} pixels",
        f"digest of images, labels and splits: {card['digest']}",
        *([f"trained on {both}"] if (both := results.settings.final_train) != "train" else []),
        *([f"pretrained weights: {weights}"] if (weights := source(entry)) else []),
        ", ".join(f"{name} {setting(value)}" for name, value in entry["config"].items()),
    ]
    parts = ["## Training", "\n".join(f"- {plain(line)}" for line in lines)]
    if entry["model"]:
        parts += [table([*HEADINGS], [model_cells(entry["model"])]), plain(notes([entry["model"]]))]
    return parts


def _limits(summary: Summary) -> list[str]:
    lines = [
        f"Measured on the {summary['tested_on']} images of this data set alone: expect less of photos from elsewhere.",
        *summary["warnings"],
    ]
    return ["## Limits", "\n".join(f"- {plain(line)}" for line in lines)]
