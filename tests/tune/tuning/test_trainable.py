"""A trial's results and its files, without Ray."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces import space_of
from search_spaces.knn import KNN
from trainables.data import TrainData
from tune.experiment.trial_context import TrialContext, data_bytes
from tune.experiment.trial_files import TrialFiles
from tune.experiment.trial_record import TrialRecord
from tune.settings.objective import Objective
from tune.tuning.trainable import LEAK_BYTES, RecipeTrial, results, trial_config


class TrialHere(RecipeTrial):
    """A trial outside of Ray."""

    def find_node(self) -> str:
        return "here"


@pytest.fixture
def settings(digits_folder: Path, tmp_path: Path) -> TrialContext:
    (tmp_path / "splits").mkdir()
    for name in ("data.json", "splits/train.npy", "splits/val.npy"):  # trials have no way to test
        (tmp_path / name).symlink_to(digits_folder / name)
    return TrialContext(
        folders={"whole": str(tmp_path)}, experiment=str(tmp_path), device="cpu", threads=1, max_epochs=3,
        objective=Objective.of("accuracy"),
    )  # fmt: skip


def run(recipe: str, settings: TrialContext, *, attempt: int = 1, reported: int = 0) -> list[dict[str, Any]]:
    config = space_of(recipe)().active()
    record = TrialRecord(number=0, recipe=recipe, config=config, seed=1, params={}, distributions={}, attempts=attempt)
    record.epochs = [{}] * reported
    return list(
        results(trial_config(record, f"01.{record.attempts:02d}", settings), settings, TrialFiles(settings.place, 0))
    )


@pytest.mark.parametrize("recipe", ["knn", "mlp"])
def test_a_trial_that_had_ended_unheard_says_so_again_and_trains_nothing(recipe: str, settings: TrialContext) -> None:
    first = run(recipe, settings)
    assert [r["end"] for r in first] == [""] * (len(first) - 1) + ["complete"]
    for reported in (len(first) - 1, len(first)):
        again = run(recipe, settings, attempt=2, reported=reported)
        assert again == first[max(0, reported - 1) :]


def test_epochs_that_were_saved_but_not_heard_of_are_reported_again(settings: TrialContext) -> None:
    config = space_of("mlp")().active()
    record = TrialRecord(number=0, recipe="mlp", config=config, seed=1, params={}, distributions={})
    going = results(
        trial_config(record, f"01.{record.attempts:02d}", settings), settings, TrialFiles(settings.place, 0)
    )
    cut_off = [next(going), next(going)]
    going.close()
    resumed = run("mlp", settings, attempt=2, reported=1)
    assert resumed[:2] == cut_off
    assert [r["epoch"] for r in resumed] == [1, 2, 3]


def test_a_process_that_begins_while_the_storage_is_gone_waits_for_it(settings: TrialContext, tmp_path: Path) -> None:
    gone = Path(settings.experiment).rename(tmp_path.parent / f"{tmp_path.name}-away")
    back = threading.Timer(0.5, gone.rename, (settings.experiment,))
    back.start()
    replace(settings, shared=str(tmp_path.parent / "shared")).prepare_process()
    back.join()


def test_best_is_the_best_so_far_of_the_metric(settings: TrialContext) -> None:
    for metric, pick in (("accuracy", max), ("loss", min)):
        settings = replace(settings, objective=Objective.of(metric))
        TrialFiles(settings.place, 0).discard_checkpoints()
        found = run("mlp", settings)
        values = [r["figures"][metric] for r in found]
        assert [r["best"] for r in found] == [pick(values[: n + 1]) for n in range(len(values))]


def test_a_process_goes_on_with_a_trial_of_another_recipe_unless_memory_was_left_behind(
    settings: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [
        trial_config(
            TrialRecord(
                number=n, recipe=recipe, config=space_of(recipe)().active(), seed=1, params={}, distributions={}
            ),
            "01.01",
            settings,
        )
        for n, recipe in enumerate(("mlp", "knn"))
    ]
    process = TrialHere(configs[0])
    first = process.step()
    assert (first["number"], first["epoch"], first["end"]) == (0, 1, "")
    assert process.reset_config(configs[1])
    last = process.step()
    assert (last["number"], last["end"], last["node"]) == (1, "complete", "here")
    assert last["worker"].endswith(f" {os.getpid()}")
    monkeypatch.setitem(data_bytes, "cpu", -LEAK_BYTES - 2**20)  # as on a GPU with this much more memory allocated
    with pytest.raises(RuntimeError, match="65 MiB of the last trial stay allocated on cpu"):
        process.reset_config(configs[0])
    process.cleanup()


def test_a_process_whose_trial_never_began_goes_on_with_another(
    settings: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(data_bytes, "cpu", raising=False)
    record = TrialRecord(number=0, recipe="knn", config=KNN().active(), seed=1, params={}, distributions={})
    config = trial_config(record, "01.01", settings)
    process = TrialHere(config)
    assert process.reset_config(config)
    assert process.step()["end"] == "complete"
    process.cleanup()


def test_the_data_are_those_of_the_experiment(settings: TrialContext, digits: TrainData) -> None:
    (result,) = run("knn", settings)
    assert result["figures"]["images_per_second"] > 0
