"""What the winners cost, in words: parameters, operations, memory, latency. They were measured with the finals."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from search_spaces import InputError
from tune.experiment import Experiment

Model = Mapping[str, Any]
"""The entry `model` of a recipe in `summary.json`: see `Cost`."""

HEADINGS = ("parameters", "trained", "MACs", "weights MiB", "latency ms")


def cells(model: Model) -> list[str]:
    """A model's figures under HEADINGS."""
    return [
        f"{model['parameters']:,}",
        f"{model['trainable']:,}",
        f"{model['macs']:,}",
        f"{model['weights_mib']:.2f}",
        f"{model['latency_ms']:.2f}",
    ]


def facts(model: Model) -> list[tuple[str, str]]:
    """A model's figures with their names, and how the latency was measured."""
    return [*zip(HEADINGS, cells(model), strict=True), ("timed on", where(model))]


def where(model: Model) -> str:
    """What a model was timed on."""
    threads = f"{model['threads']} thread{'' if model['threads'] == 1 else 's'}"
    return f"{model['device']}, {threads}"


def notes(models: list[Model]) -> str:
    """What the figures of these models mean."""
    places = "; ".join(dict.fromkeys(map(where, models)))
    return f"MACs and latency are of one image; latency is the median on {places}."


def describe(experiment: Experiment, recipe: str | None = None) -> tuple[Table, str]:
    """The winners of an experiment, or that of `recipe`, as a table, and a line on what its figures mean.

    Raises:
        InputError: nothing was tested yet, or not this recipe, or it was not measured.
    """
    experiment.best(recipe)
    entries = experiment.read("summary.json")["recipes"]
    models = {
        name: entries[name]["model"] for name in experiment.tested if recipe in (None, name) and entries[name]["model"]
    }
    if not models:
        raise InputError(f"{experiment.folder}: its models were not measured, as it was searched by an older toprung")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("recipe")
    for heading in HEADINGS:
        table.add_column(Text(heading), justify="right")
    for name, model in models.items():
        table.add_row(Text(name), *cells(model))
    return table, notes(list(models.values()))
