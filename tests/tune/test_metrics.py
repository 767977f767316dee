"""A metric that is added to `METRICS` is measured, with an interval, and shown everywhere."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from tests.tune.draws import draws_of
from tests.tune.reporting.stories import Story
from trainables.training.metrics import METRICS, CountMetric, GeneralMetric, MeanMetric, Metric
from tune.api import Result
from tune.experiment.report_json import read_report
from tune.reporting.leaderboard_text import leaderboard_table
from tune.reporting.report import write_report
from tune.tracking.results import leaderboard_table as sent_to_wandb

CLASSES = tuple(f"class {n}" for n in range(8))


def median_confidence(labels: NDArray[np.int64], log_probabilities: NDArray[np.floating]) -> float:
    """Neither a mean over images nor a function of predictions."""
    own = log_probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(np.median(np.exp(own)) + np.exp(own).mean()) / 2


def confidence(labels: NDArray[np.int64], log_probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.exp(log_probabilities[np.arange(len(labels)), labels].astype(np.float64))


MADE_UP = (
    GeneralMetric(name="made_up", label="made-up figure", shown=True, function=median_confidence),
    MeanMetric(name="made_up", label="made-up figure", shown=True, function=confidence),
    CountMetric(name="made_up", label="made-up figure", shown=True, of_counts=lambda of: of.recall.min(axis=-1)),
)


@pytest.fixture
def few_draws() -> Iterator[None]:
    with draws_of(40):
        yield


def told(folder: Path) -> Story:
    """Two recipes with finals, the winner with three seeds."""
    story = Story.begin(folder, classes=CLASSES, on_disk=True)
    knn, mlp = story.trial("knn", [0.8]), story.trial("mlp", [0.9])
    story.final(knn, seed=0, val=0.8, right=30)
    for seed in range(3):
        story.final(mlp, seed=seed, val=0.9, right=28 + seed)
    write_report(story.experiment, story.study.records, story.finalists(knn, mlp), [], seconds=1.0)
    story.study.close()
    return story


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("metric", MADE_UP, ids=lambda metric: type(metric).__name__)
def test_a_new_metric_is_in_terminal_page_markdown_python_and_wandb(
    tmp_path: Path, measure: Callable[[Sequence[Metric]], None], metric: Metric
) -> None:
    measure((*METRICS, metric))
    experiment = told(tmp_path).experiment
    report = read_report(experiment)
    assert report is not None
    assert report.best is not None
    assert report.best.test is not None
    found = report.best.test.metrics["made_up"]
    assert 0 <= found.low < found.mean < found.high <= 1
    assert found.std is not None
    value = f"{found.mean:.4f}"

    console = Console(file=StringIO(), width=120)
    console.print(leaderboard_table(report))
    terminal = console.file.getvalue()  # type: ignore[attr-defined]
    assert "made-up" in terminal
    assert value in terminal
    page = (experiment.folder / "report/index.html").read_text()
    assert '<th class="n" title="larger is better">made-up figure</th>' in page
    assert f'<td class="n">{value} <span' in page
    markdown = (experiment.folder / "report.md").read_text()
    heading, _, line = markdown[markdown.index("| rank |") :].splitlines()[:3]
    columns = [each.strip() for each in heading.split("|")]
    assert line.split("|")[columns.index("made-up figure")].strip().startswith(value)
    assert Result(experiment).leaderboard.loc[1, "test_made_up"] == found.mean
    table = sent_to_wandb(report)
    assert table.data[0][table.columns.index("test_made_up")] == found.mean
    assert f"| made-up figure | {value} |" in (experiment.folder / "best/mlp/README.md").read_text()


@pytest.mark.usefixtures("few_draws")
def test_a_loss_is_said_to_be_better_where_it_is_smaller(
    tmp_path: Path, measure: Callable[[Sequence[Metric]], None]
) -> None:
    loss = next(metric for metric in METRICS if metric.name == "loss")
    others = tuple(metric for metric in METRICS if metric.name != "loss")
    measure((*others, replace(loss, shown=True)))
    page = (told(tmp_path).experiment.folder / "report/index.html").read_text()
    assert '<th class="n" title="smaller is better">loss</th>' in page


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(("classes", "shown"), [(5, False), (6, True)])
def test_top_5_is_shown_of_more_than_five_classes(tmp_path: Path, classes: int, shown: bool) -> None:
    story = Story.begin(tmp_path, classes=CLASSES[:classes])
    trial = story.trial("mlp", [0.8])
    story.final(trial, seed=0, val=0.8, right=30)
    write_report(story.experiment, story.study.records, story.finalists(trial), [], seconds=1.0)
    report = read_report(story.experiment)
    assert report is not None
    assert report.best is not None
    assert report.best.test is not None
    assert ("top5_accuracy" in report.best.test.metrics) == shown
    console = Console(file=StringIO(), width=80)
    console.print(leaderboard_table(report))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any("top-5" in line for line in lines) == shown
    assert max(map(len, lines)) <= 80
    assert any(line.split()[1:2] == ["mlp"] for line in lines), "there is room for the recipe's name"
    for file in ("report.md", "report/index.html", "best/mlp/README.md"):
        text = (story.experiment.folder / file).read_text()
        assert ("top-5 accuracy" in text) == shown, file
        assert "macro_recall" not in text
    assert "balanced accuracy" in (story.experiment.folder / "report/index.html").read_text()
