"""Tables for notebooks and other tools: `trials.parquet`, one row per trial, and `curves.parquet`, one per epoch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from search_spaces import Choice, Domain, Float, Int, space_of
from trainables.training.iterate import TIMINGS
from trainables.training.metric_names import VAL_METRICS
from tune.experiment.trial_ranking import rung_of
from tune.experiment.trial_record import TrialRecord
from tune.reporting.formatting import printable
from tune.reporting.results import Results

FIGURES = (*VAL_METRICS, "train_loss", "train_accuracy", "lr", *TIMINGS)
"""An epoch's figures; a recipe that reports more has more columns."""


def write_tables(results: Results) -> None:
    """Write both files into the experiment's folder."""
    for name, table in (("trials", trials_table(results)), ("curves", curves_table(results.records))):
        with results.experiment.writing(f"{name}.parquet") as path:
            _write(table, path)


def trials_table(results: Results) -> pa.Table:
    """Return every trial with its configuration, as `recipe.field`, and figures; empty tables have types, too."""
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
        **{f"val_{name}": pa.float64() for name in VAL_METRICS},
        "seconds": pa.float64(),
        "seed": pa.int64(),
        "attempts": pa.int64(),
        "note": pa.string(),
        **fields,
    }
    return _table(schema, [_trial(record, results.settings.milestones) for record in results.records])


def curves_table(records: Iterable[TrialRecord]) -> pa.Table:
    """Return every epoch of every trial, with the trial's best-so-far metric."""
    rows: list[dict[str, Any]] = [
        {"number": r.number, "recipe": r.recipe, "best_so_far": r.values.get(int(figures["epoch"])), **figures}
        for r in records
        for figures in r.epochs
    ]
    more = {name for row in rows for name in row if name not in FIGURES}
    figures = (*FIGURES, *sorted(more - {"number", "recipe", "epoch", "best_so_far"}))
    schema = {
        "number": pa.int64(),
        "recipe": pa.string(),
        "epoch": pa.int64(),
        "best_so_far": pa.float64(),
        **{name: pa.float64() for name in figures},
    }
    return _table(schema, rows)


def _trial(record: TrialRecord, milestones: list[int]) -> dict[str, Any]:
    best = record.best_epoch or {}
    return {
        "number": record.number,
        "recipe": record.recipe,
        "state": record.state,
        "rung": rung_of(record, milestones),
        "epochs": len(record.epochs),
        "value": record.value,
        "best_epoch": best.get("epoch"),
        **{f"val_{name}": best.get(name) for name in VAL_METRICS},
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


def _table(schema: dict[str, pa.DataType], rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: pa.array([_cast(row.get(name), kind) for row in rows], kind) for name, kind in schema.items()}
    return pa.table(columns)


def _cast(value: Any, kind: pa.DataType) -> Any:
    """Convert a value to its column's type; a choice that mixes words and numbers is stored as strings."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return str(value)
    return int(value) if pa.types.is_integer(kind) else float(value)


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")
