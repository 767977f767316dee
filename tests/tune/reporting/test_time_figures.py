"""The figures of each worker's timeline and use of time."""

from collections.abc import Callable

import pytest

from reporting.stories import Story
from tune.experiment.trial_record import Heard, TrialRecord
from tune.reporting.figures.search import history
from tune.reporting.figures.times import shares, stretches, workers
from tune.reporting.results import Results


def results_of(story: Story) -> Results:
    return Results(experiment=story.experiment, records=story.study.records, finalists=[], failures=[], seconds=0.0)


def trained(number: int, *heard: Heard, seconds: float = 2.0) -> TrialRecord:
    return TrialRecord(
        number=number, recipe="mlp", config={}, seed=0, params={}, distributions={}, state="complete",
        epochs=[{"epoch": epoch, "seconds": seconds} for epoch, _ in enumerate(heard, start=1)],
        values={epoch: 0.5 for epoch, _ in enumerate(heard, start=1)},
        heard=dict(enumerate(heard, start=1)),
    )  # fmt: skip


def test_epochs_of_a_trial_on_one_worker_are_one_stretch() -> None:
    first = trained(0, Heard(12.0, "a"), Heard(15.0, "a"), Heard(30.0, "b"))
    second = trained(1, Heard(20.0, "a"))
    found = stretches([first, second])
    assert [(s.record.number, s.worker, s.first, s.last) for s in found] == [
        (0, "a", 1, 2), (1, "a", 1, 1), (0, "b", 3, 3),
    ]  # fmt: skip
    assert [(s.begin, s.end, s.seconds) for s in found] == [(10.0, 15.0, 4.0), (18.0, 20.0, 2.0), (28.0, 30.0, 2.0)]


def test_each_worker_has_a_lane_and_the_time_its_shares(begin: Callable[..., Story]) -> None:
    story = begin()
    timings = {"images_per_second": 100.0, "loading_seconds": 0.4}
    story.trial("mlp", [0.5, 0.6, 0.7], **timings)
    story.trial("knn", [0.5], **timings)
    story.trial("mlp", [0.4], "pruned", **timings)
    figure = workers(results_of(story))
    assert not isinstance(figure, str)
    assert list(figure.layout.yaxis.ticktext) == ["host 0", "host 1"]
    told = [text for trace in figure.data for text in trace.text if text]
    assert "mlp, trial 0: epochs 1 to 3, 4 s, complete" in told
    train = story.experiment.read("data.json")["images"]["train"]
    span = (20.0 + 2.0) - (2.0 - 1.5) + 1.5
    training = min(train / 100.0, 1.5)
    parts = {"training": training - 0.4, "loading": 0.4, "evaluating": 1.5 - training}
    told = dict(shares(results_of(story)))
    assert {name: told[name] for name in parts} == {name: f"{5 * part / span:.0%}" for name, part in parts.items()}
    assert told["waiting between epochs and trials"] == f"{1 - 5 * 1.5 / span:.0%}"


def test_progress_is_known_against_trials_epochs_and_time(begin: Callable[..., Story]) -> None:
    story = begin()
    story.trial("mlp", [0.5, 0.6, 0.7])
    story.trial("mlp", [0.4])
    story.trial("mlp", [0.9, 0.8])
    expected = {"trials": [0, 1, 2], "epochs": [2, 4, 6], "time": [1.5, 5.5, 23.5]}
    for against, places in expected.items():
        figure = history(results_of(story), against)  # type: ignore[arg-type]
        assert not isinstance(figure, str)
        assert sorted(figure.data[0].x) == pytest.approx(places)


def test_an_experiment_from_before_times_were_noted_says_so() -> None:
    record = trained(0)
    assert stretches([record]) == []
