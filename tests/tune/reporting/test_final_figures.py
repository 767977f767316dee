"""The figures that compare the finals on val and on test."""

from collections.abc import Callable

import pytest
from plotly.graph_objects import Figure

from reporting.stories import Story, data_card
from tune.experiment.report_json import Report, read_report
from tune.reporting.figures.finals import finals, optimism, val_against_test
from tune.reporting.report import write_report

COLOURS = {"mlp": "#000001", "knn": "#000002"}


def report_of(story: Story) -> Report:
    """Two finalists of one recipe, one of another, and the default point; each right on some of 40 images."""
    best, second, other = story.trial("mlp", [0.9]), story.trial("mlp", [0.8]), story.trial("knn", [0.7])
    for seed in range(2):
        story.final(best, seed=seed, val=0.9, right=32 + 2 * seed)
        story.default("mlp", seed=seed, val=0.6, right=20)
    story.final(second, seed=0, val=0.8, right=30)
    story.final(other, seed=0, val=0.7, right=28)
    finalists = story.finalists(best, second, other)
    write_report(story.experiment, story.study.records, finalists, [], seconds=1.0)
    report = read_report(story.experiment)
    assert report is not None
    return report


def test_every_training_is_told_with_what_it_reached(begin: Callable[..., Story]) -> None:
    report = report_of(begin())
    found = [(line.recipe, line.trial, line.kind, line.seed, line.val, line.test) for line in finals(report)]
    assert found == [
        ("mlp", "0", "best", 0, 0.9, 0.8), ("mlp", "0", "best", 1, 0.9, 0.85), ("mlp", "1", "other", 0, 0.8, 0.75),
        ("knn", "2", "best", 0, 0.7, 0.7),
        ("mlp", "default", "default", 0, 0.6, 0.5), ("mlp", "default", "default", 1, 0.6, 0.5),
    ]  # fmt: skip
    assert optimism(report) == pytest.approx((0.1 + 0.05 + 0.05 + 0.0 + 0.1 + 0.1) / 6)
    figure = val_against_test(report, COLOURS)
    assert isinstance(figure, Figure)
    line, mlp, knn = figure.data
    assert list(line.x) == list(line.y)
    assert (list(mlp.x), list(mlp.y)) == ([0.9, 0.9, 0.8, 0.6, 0.6], [0.8, 0.85, 0.75, 0.5, 0.5])
    assert (list(knn.x), list(knn.y)) == ([0.7], [0.7])
    stds = {recipe: entry.test.accuracy.std for recipe, entry in report.recipes.items() if entry.test}
    assert stds["mlp"] == pytest.approx(0.05 / 2**0.5)
    assert stds["knn"] is None, "of one seed"


def test_a_default_point_that_is_a_finalist_is_told_once(begin: Callable[..., Story]) -> None:
    report = report_of(begin())
    assert report.default is not None
    named = report.default.model_copy(update={"config": report.recipes["mlp"].finalists[0].config})
    report = report.model_copy(update={"default": named})
    assert [line.kind for line in finals(report)] == ["best", "best", "other", "best"]


def test_where_there_is_no_test_split_val_is_not_held_against_itself(begin: Callable[..., Story]) -> None:
    card = data_card(["ant", "bee", "cat"])
    report = report_of(begin(card={"images": {**card["images"], "test": 0}}))
    assert val_against_test(report, COLOURS) is None
    assert optimism(report) is None
