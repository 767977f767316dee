"""Tables for notebooks and other tools: `trials.parquet`, one row per trial, and `curves.parquet`, one per epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from search_spaces import Choice, Domain, Float, Int, Value, space_of
from trainables.training.metrics import TIMINGS, metrics_of
from tune.experiment.trial_ranking import rung_of
from tune.experiment.trial_record import TrialRecord
from tune.reporting.formatting import printable
from tune.reporting.results import Results

NOT_ON_VAL = ("train_loss", "train_accuracy", "lr", *TIMINGS)
"""An epoch's figures besides the val metrics; a recipe that reports more has more columns."""


Cells = Mapping[str, Value | None]
"""A row: values by column."""


def write_tables(results: Results) -> None:
    """Write both files into the experiment's folder."""
    for name, table in (("trials", trials_table(results)), ("curves", curves_table(results))):
        with results.experiment.writing(f"{name}.parquet") as path:
            _write(table, path)


def trials_table(results: Results) -> pa.Table:
    """Return every trial with its configuration, as `recipe.field`, and figures; empty tables have types, too."""
    metrics = _val_metrics(results)
    fields = {
        f"{recipe}.{name}": _type(domain)
        for recipe in results.settings.recipes
        for name, domain in space_of(recipe).domains().items()
    }
    schema = {
        "number": pa.int64(),
        "recipe": pa.string(),
        "state": pa.string(),
        "rung": pa.int64(),
        "epochs": pa.int64(),
        "value": pa.float64(),
        "best_epoch": pa.int64(),
        **{f"val_{name}": pa.float64() for name in metrics},
        "seconds": pa.float64(),
        "seed": pa.int64(),
        "attempts": pa.int64(),
        "note": pa.string(),
        **fields,
    }
    return _table(schema, [_trial(record, results.settings.milestones, metrics) for record in results.records])


def curves_table(results: Results) -> pa.Table:
    """Return every epoch of every trial, with the trial's best-so-far metric."""
    rows: list[Cells] = [
        {"number": r.number, "recipe": r.recipe, "best_so_far": r.values.get(int(figures["epoch"])), **figures}
        for r in results.records
        for figures in r.epochs
    ]
    known = (*_val_metrics(results), *NOT_ON_VAL)
    more = {name for row in rows for name in row if name not in known}
    figures = (*known, *sorted(more - {"number", "recipe", "epoch", "best_so_far"}))
    schema = {
        "number": pa.int64(),
        "recipe": pa.string(),
        "epoch": pa.int64(),
        "best_so_far": pa.float64(),
        **{name: pa.float64() for name in figures},
    }
    return _table(schema, rows)


def _val_metrics(results: Results) -> list[str]:
    return [metric.name for metric in metrics_of(len(results.classes))]


def _trial(record: TrialRecord, milestones: list[int], metrics: Sequence[str]) -> Cells:
    best = record.best_epoch or {}
    return {
        "number": record.number,
        "recipe": record.recipe,
        "state": record.state,
        "rung": rung_of(record, milestones),
        "epochs": len(record.epochs),
        "value": record.value,
        "best_epoch": best.get("epoch"),
        **{f"val_{name}": best.get(name) for name in metrics},
        "seconds": record.seconds,
        "seed": record.seed,
        "attempts": record.attempts,
        "note": printable(record.note),
        **{f"{record.recipe}.{name}": value for name, value in record.config.items()},
    }


def _type(domain: Domain) -> pa.DataType:
    match domain:
        case Float():
            return pa.float64()
        case Int():
            return pa.int64()
        case Choice(options):
            if any(isinstance(option, str) for option in options):
                return pa.string()
            return pa.int64() if all(isinstance(option, int) for option in options) else pa.float64()


def _table(schema: dict[str, pa.DataType], rows: list[Cells]) -> pa.Table:
    columns = {name: pa.array([_cast(row.get(name), kind) for row in rows], kind) for name, kind in schema.items()}
    return pa.table(columns)


def _cast(value: Value | None, kind: pa.DataType) -> Value | None:
    """Convert a value to its column's type; a choice that mixes words and numbers is stored as strings."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return str(value)
    return int(value) if pa.types.is_integer(kind) else float(value)


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")
