"""The cost of the winners in words: parameters, operations, memory, latency. It was measured with the finals."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from search_spaces import InputError
from tune.experiment.model_folders import winner_folders
from tune.experiment.report_figures import ModelCost
from tune.models.model_folder import ModelFolder

HEADINGS = ("parameters", "trained", "MACs", "weights MiB", "latency ms")


def cells(model: ModelCost) -> list[str]:
    """Return a model's figures under HEADINGS."""
    return [
        f"{model.parameters:,}",
        f"{model.trainable:,}",
        f"{model.macs:,}",
        f"{model.weights_mib:.2f}",
        f"{model.latency_ms:.2f}",
    ]


def facts(model: ModelCost) -> list[tuple[str, str]]:
    """Return a model's figures with their names, and the device on which latency was measured."""
    return [*zip(HEADINGS, cells(model), strict=True), ("timed on", where(model))]


def where(model: ModelCost) -> str:
    """Return the device and threads that a model was timed on."""
    threads = f"{model.threads} thread{'' if model.threads == 1 else 's'}"
    return f"{model.device}, {threads}"


def notes(models: list[ModelCost]) -> str:
    """Return a note on the meaning of these models' figures."""
    places = "; ".join(dict.fromkeys(map(where, models)))
    return f"MACs and latency are of one image; latency is the median on {places}."


def describe(source: Path, recipe: str | None = None) -> tuple[Table, str]:
    """Return a cost table of an experiment's winners, of `recipe`'s winner or of one model, and a note on its figures.

    Raises:
        InputError: nothing was tested yet, or `recipe` was not, or the model was not measured.
    """
    trained = ModelFolder.find(source, recipe)
    found, experiment = [trained], trained.experiment
    if recipe is None and experiment and experiment.folder == source.expanduser().absolute():
        found = [ModelFolder(folder=folder, experiment=experiment) for folder in winner_folders(experiment)]
    models = {trained.name: cost for trained in found if (cost := trained.cost)}
    if not models:
        raise InputError(f"{source}: was not measured, as it was searched by an older toprung")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model")
    for heading in HEADINGS:
        table.add_column(Text(heading), justify="right")
    for name, model in models.items():
        table.add_row(Text(name), *cells(model))
    return table, notes(list(models.values()))
