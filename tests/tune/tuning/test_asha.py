"""Rungs decide as Ray's own ASHA does, and are the same when they are filled again."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.experiment.trial_ranking import rung_of
from tune.experiment.trial_record import TrialRecord
from tune.settings.milestones import milestones
from tune.tuning.asha import RecipeASHA, Rungs


def record(number: int, values: list[float], recipe: str = "mlp", state: str = "pruned") -> TrialRecord:
    return TrialRecord(
        number=number, recipe=recipe, config={}, seed=0, params={}, distributions={}, state=state,  # type: ignore[arg-type]
        epochs=[{"epoch": e + 1} for e in range(len(values))], values={e + 1: v for e, v in enumerate(values)},
    )  # fmt: skip


def result(scheduler: RecipeASHA, number: int, epoch: int, best: float, recipe: str = "mlp") -> str:
    trial = SimpleNamespace(config={"recipe": recipe})
    return scheduler.on_trial_result(None, trial, {"number": number, "epoch": epoch, "best": best})  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ActorUnavailableError("Socket closed", b"1" * 16), RayActorError(error_msg="x")])
def test_what_a_trial_failed_by_is_read_from_where_ray_keeps_it(tmp_path: Path, error: Exception) -> None:
    scheduler = RecipeASHA([], 3, maximize=True, known=[])
    file = tmp_path / "error.pkl"
    file.write_bytes(ray.cloudpickle.dumps(error))
    for trial_id, place in (("a", str(file)), ("b", None)):
        trial = SimpleNamespace(trial_id=trial_id, pickled_error_file=place)
        scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
    assert {key: (type(found), str(found)) for key, found in scheduler.errors.items()} == {
        "a": (type(error), str(error))
    }


def test_milestones_are_powers_of_the_factor_below_the_last_epoch() -> None:
    assert milestones(3, 3, 30) == [3, 9, 27]
    assert milestones(3, 3, 27) == [3, 9]
    assert milestones(5, 2, 5) == []
    assert milestones(1, 4, 100) == [1, 4, 16, 64]


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize(("grace", "factor"), [(1, 2), (3, 3), (2, 4)])
def test_decisions_are_those_of_rays_scheduler(maximize: bool, grace: int, factor: int) -> None:
    rng = random.Random(f"{maximize}{grace}{factor}")
    last = 40
    rays = ASHAScheduler(
        time_attr="epoch", metric="best", mode="max" if maximize else "min", max_t=last,
        grace_period=grace, reduction_factor=factor,
    )  # fmt: skip
    ours = RecipeASHA(milestones(grace, factor, last), factor, maximize=maximize, known=[])
    stopped = 0
    live = {n: (rng.random(), 0) for n in range(4)}
    number = 4
    while number < 80:
        n = rng.choice(sorted(live))
        skill, epoch = live[n]
        trial = SimpleNamespace(trial_id=str(n))
        if epoch == 0:
            rays.on_trial_add(None, trial)
        epoch += 1
        best = round(skill + rng.gauss(0, 0.1), 2)  # rounded, so that ties occur
        theirs = rays.on_trial_result(None, trial, {"epoch": epoch, "best": best})
        if epoch < last:
            assert theirs == result(ours, n, epoch, best)
        live[n] = (skill, epoch)
        if theirs == TrialScheduler.STOP or epoch == last:
            stopped += epoch < last
            del live[n]
            live[number] = (rng.random(), 0)
            number += 1
    assert stopped > 20


def test_rungs_filled_from_the_study_decide_as_those_that_were_not_lost() -> None:
    rng = random.Random(0)
    histories = [[rng.random() for _ in range(rng.randint(1, 9))] for _ in range(30)]
    whole = RecipeASHA([1, 3, 9], 3, maximize=True, known=[])
    for number, values in enumerate(histories):
        for epoch, value in enumerate(values, 1):
            result(whole, number, epoch, value)
    refilled = RecipeASHA([1, 3, 9], 3, maximize=True, known=[record(n, v) for n, v in enumerate(histories)])
    for number in range(30, 60):
        for epoch in (1, 2, 3, 9):
            value = rng.random()
            assert result(whole, number, epoch, value) == result(refilled, number, epoch, value)


def test_the_last_epoch_of_a_trial_that_was_running_is_decided_again() -> None:
    known = [record(0, [0.9]), record(1, [0.1], state="running")]
    scheduler = RecipeASHA([1], 2, maximize=True, known=known)
    assert result(scheduler, 1, 1, 0.1) == TrialScheduler.STOP


def test_a_trial_is_counted_once_a_rung_also_when_it_reports_again() -> None:
    rungs = Rungs([1], 2, maximize=True)
    assert rungs.survives(0, 1, 0.5)
    assert rungs.survives(0, 1, 0.1)  # the decision was made
    assert not rungs.survives(1, 1, 0.4)  # compared with 0.5, not with 0.1


def test_recipes_are_not_compared_with_each_other() -> None:
    scheduler = RecipeASHA([1], 2, maximize=True, known=[])
    for number in range(5):
        result(scheduler, number, 1, 0.99, recipe="knn")
    assert result(scheduler, 9, 1, 0.1, recipe="mlp") == TrialScheduler.CONTINUE


def test_a_trial_that_ended_by_itself_is_above_all_rungs() -> None:
    assert rung_of(record(0, [0.1] * 5), [3, 9]) == 1
    assert rung_of(record(0, [0.1] * 9), [3, 9]) == 2
    assert rung_of(record(0, [0.1], state="complete"), [3, 9]) == 3
