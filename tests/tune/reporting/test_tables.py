"""trials.parquet and curves.parquet: rows, columns and their types."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from reporting.stories import Story
from tune.experiment.experiment import Experiment
from tune.reporting.report import write_report


def read(experiment: Experiment, name: str) -> pa.Table:
    return pq.read_table(experiment.folder / f"{name}.parquet")


def test_every_trial_is_a_row(finished: Experiment) -> None:
    rows = read(finished, "trials").to_pylist()
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["state"] for row in rows] == ["complete", "complete", "pruned", "failed", "running"]
    assert [row["rung"] for row in rows] == [2, 2, 1, 0, 0]
    best = rows[1]
    assert (best["value"], best["best_epoch"], best["epochs"], best["val_accuracy"]) == (0.95, 5, 6, 0.95)
    assert (best["seconds"], best["seed"], best["attempts"]) == (9.0, 7, 1)
    assert rows[3]["note"] == "ValueError: broken"
    assert rows[4]["value"] is None
    assert rows[4]["best_epoch"] is None


def test_fields_that_a_trial_does_not_have_are_null(finished: Experiment) -> None:
    knn, mlp, *_ = read(finished, "trials").to_pylist()
    assert isinstance(knn["knn.neighbors"], int)
    assert knn["mlp.lr"] is None
    assert isinstance(mlp["mlp.lr"], float)
    assert mlp["knn.neighbors"] is None
    assert (mlp["mlp.momentum"] is None) == (mlp["mlp.optimizer"] == "adamw")


def test_every_epoch_is_a_row_with_every_figure(finished: Experiment) -> None:
    rows = read(finished, "curves").to_pylist()
    assert [(row["number"], row["epoch"]) for row in rows if row["number"] < 2] == [(0, 1)] + [
        (1, n) for n in range(1, 7)
    ]
    assert rows[5]["accuracy"] == 0.95
    assert [row["best_so_far"] for row in rows if row["number"] == 1][-2:] == [0.95, 0.95]
    assert rows[5]["seconds"] == 1.5
    assert rows[5]["train_loss"] is None


def test_columns_are_typed_even_where_there_is_no_trial(begin: Callable[..., Story], finished: Experiment) -> None:
    story = begin()
    write_report(story.experiment, story.study.records, [], [], seconds=0.0)
    for name in ("trials", "curves"):
        table = read(story.experiment, name)
        assert table.num_rows == 0
        assert table.schema == read(finished, name).schema
    trials = read(story.experiment, "trials").schema
    assert trials.field("number").type == pa.int64()
    assert trials.field("mlp.lr").type == pa.float64()
    assert trials.field("mlp.depth").type == pa.int64()
    assert trials.field("mlp.optimizer").type == pa.string()
    assert trials.field("mlp.batch_size").type == pa.int64()


def test_a_figure_that_only_one_recipe_gives_has_a_column(begin: Callable[..., Story]) -> None:
    story = begin()
    story.trial("mlp", [0.5], ema_decay=0.99)
    write_report(story.experiment, story.study.records, [], [], seconds=0.0)
    assert read(story.experiment, "curves")["ema_decay"].to_pylist() == [0.99]
