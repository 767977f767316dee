"""Optuna's storages, which Optuna calls internal, held against the installed Optuna."""

import ast
import inspect
from pathlib import Path

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from tune.experiment import study
from tune.experiment.optuna_private import BaseStorage, RDBStorage, cached


def called_on_storages() -> set[str]:
    """The names that the study's module takes from a storage."""
    return {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(study)))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("storage", "self._storage")
    }


def test_storages_have_what_the_study_calls() -> None:
    called = called_on_storages()
    assert {"create_new_study", "create_new_trial", "set_trial_state_values", "engine"} < called
    assert {name for name in called if not hasattr(BaseStorage, name)} == {"engine"}, "only an RDBStorage has one"


def test_a_storage_keeps_a_running_trial_made_at_once_and_a_cached_one_reads_it(tmp_path: Path) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    made = storage.create_new_study([StudyDirection.MAXIMIZE], "s")
    trial = storage.create_new_trial(made, create_trial(state=TrialState.RUNNING, user_attrs={"recipe": "knn"}))
    storage.set_trial_intermediate_value(trial, 1, 0.5)
    storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.5])
    reading = cached(storage)
    (read,) = reading.get_all_trials(made, deepcopy=False)
    assert (read.user_attrs, read.value) == ({"recipe": "knn"}, pytest.approx(0.5))
    assert reading.get_all_trials(made, deepcopy=False)[0] is read, "a trial that has ended is read once"
    storage.remove_session()
    storage.engine.dispose()
