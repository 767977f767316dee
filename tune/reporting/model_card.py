"""Model cards `best/RECIPE/README.md`, one per tested recipe, in the format of the Hugging Face hub."""

import yaml

from trainables.training.metrics import label_of
from tune.experiment.report_json import RecipeReport, Report
from tune.models.cost import HEADINGS, notes
from tune.models.cost import cells as model_cells
from tune.reporting.command import command
from tune.reporting.formatting import TIMES, counted, interval, metric, percent, setting, spread
from tune.reporting.markdown import class_table
from tune.reporting.markup import code, plain, table
from tune.reporting.results import Results, source

METADATA = {"library_name": "toprung", "pipeline_tag": "image-classification", "metrics": ["accuracy", "f1"]}
"""The metadata that the hub reads."""


def model_card(results: Results, report: Report, recipe: str) -> str:
    """Return the model card of a tested recipe; its figures are means over all seeds."""
    entry = report.recipes[recipe]
    parts = [
        f"---\n{yaml.safe_dump(METADATA, sort_keys=False)}---",
        f"# {plain(recipe)}, the best of {plain(results.settings.name)}",
        *_use(results, entry, recipe),
        *_figures(report, entry),
        *_training(results, entry),
        *_limits(report),
        "## How it was found",
        code(command(results.settings, results.preset)),
    ]
    return "\n\n".join(parts) + "\n"


def _use(results: Results, entry: RecipeReport, recipe: str) -> list[str]:
    boxes = (entry.config or {}).get("input_variant") == "box"
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


def _figures(report: Report, entry: RecipeReport) -> list[str]:
    test, calibration = entry.test, entry.calibration
    assert test is not None
    assert calibration is not None
    assert entry.per_class is not None
    where = f"{counted(test.n, 'image')} of {report.tested_on}, {counted(len(test.seeds), 'seed')}"
    lines = ([label_of(name), metric(m.mean), spread(m), interval(m)] for name, m in test.metrics.items())
    return [
        f"## Figures\n\nOn {where}; the weights here are of seed {entry.median_seed}, the median on val.",
        table(["metric", "mean", "over seeds", "95% interval"], lines),
        f"Expected calibration error {percent(calibration.ece)}; with logits divided by "
        f"{calibration.temperature:.2f}, fitted on val, {percent(calibration.ece_with_temperature)}.",
        f"Of each class, by seed {entry.median_seed}:",
        class_table(entry.per_class, "images"),
    ]


def _training(results: Results, entry: RecipeReport) -> list[str]:
    card, shape = results.card, results.experiment.shape
    images = ", ".join(f"{count:,} {split}" for split, count in card["images"].items() if count)
    lines = [
        f"data: {card['source']}, {images} images, {shape.width} {TIMES} {shape.height} pixels",
        f"digest of images, labels and splits: {card['digest']}",
        *([f"trained on {both}"] if (both := results.settings.final_train) != "train" else []),
        *([f"pretrained weights: {weights}"] if (weights := source(entry)) else []),
        ", ".join(f"{name} {setting(value)}" for name, value in (entry.config or {}).items()),
    ]
    parts = ["## Training", "\n".join(f"- {plain(line)}" for line in lines)]
    if entry.model:
        parts += [table([*HEADINGS], [model_cells(entry.model)]), plain(notes([entry.model]))]
    return parts


def _limits(report: Report) -> list[str]:
    lines = [
        f"Measured on the {report.tested_on} images of this data set alone: expect less of photos from elsewhere.",
        *report.warnings,
    ]
    return ["## Limits", "\n".join(f"- {plain(line)}" for line in lines)]
