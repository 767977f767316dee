"""TensorBoard's event files, read back by TensorBoard."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from reporting.stories import Story
from tune.reporting.report import write_report


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_trials_and_finals_are_runs_with_their_curves_and_configurations(begin: Callable[..., Story]) -> None:
    story = begin(tensorboard=True)
    best = story.trial("mlp", [0.5, 0.7, 0.6])
    story.trial("mlp", [], "running")
    story.final(best, seed=0, val=0.7, right=30)
    write_report(story.experiment, story.study.records, story.finalists(best), [], seconds=1.0)
    folder = story.experiment.folder / "tensorboard"
    trial = read(folder / "mlp-00000")
    assert [(point.step, pytest.approx(point.value)) for point in trial.Scalars("val/accuracy")] == [
        (1, 0.5), (2, 0.7), (3, 0.6),
    ]  # fmt: skip
    assert [point.wall_time for point in trial.Scalars("val/accuracy")] == [h.at for h in best.heard.values()]
    assert trial.Scalars("best")[-1].value == pytest.approx(0.7)
    (content,) = (
        plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        for name, content in trial.PluginTagToContent("hparams").items()
        if name.endswith("session_start_info")
    )
    assert content["recipe"].string_value == "mlp"
    assert content["lr"].number_value == pytest.approx(best.config["lr"])
    assert read(folder / "finals" / "mlp-00000-0").Scalars("test/accuracy")
    write_report(story.experiment, story.study.records, story.finalists(best), [], seconds=1.0)
    assert len(list((folder / "mlp-00000").iterdir())) == 1, "written anew"


def test_nobody_gets_them_unasked(begin: Callable[..., Story]) -> None:
    story = begin()
    story.trial("mlp", [0.5])
    write_report(story.experiment, story.study.records, [], [], seconds=1.0)
    assert not (story.experiment.folder / "tensorboard").exists()
