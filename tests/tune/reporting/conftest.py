"""One experiment with everything in it, written once, and a way to make up others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reporting.stories import Story
from tests.tune.draws import draws_of
from tune.experiment.experiment import Experiment
from tune.reporting.report import write_report


@pytest.fixture(scope="package", autouse=True)
def _few_draws() -> Iterator[None]:
    """Intervals of these made-up predictions need not be exact."""
    with draws_of(40):
        yield


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Story]:
    def story(**given: Any) -> Story:
        return Story.begin(tmp_path, **given)

    return story


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory, _few_draws: None) -> Experiment:
    """mlp is best on val and knn on test; trials of every state; one final failed."""
    story = Story.begin(tmp_path_factory.mktemp("out"), on_disk=True, card={"warnings": ["two images are alike"]})
    knn = story.trial("knn", [0.90])
    mlp = story.trial("mlp", [0.5, 0.7, 0.8, 0.9, 0.95, 0.94])
    story.trial("mlp", [0.3, 0.4, 0.5], "pruned")
    story.trial("mlp", [0.2], "failed", note="ValueError: broken")
    story.trial("knn", [], "running")
    story.final(knn, seed=0, val=0.90, right=38)
    for seed, val, right in ((0, 0.93, 30), (1, 0.97, 34), (2, 0.95, 32)):
        story.final(mlp, seed=seed, val=val, right=right)
    write_report(
        story.experiment,
        story.study.records,
        story.finalists(knn, mlp),
        ["final mlp-00001-3: out of memory"],
        seconds=75.0,
    )
    story.study.close()
    return story.experiment
