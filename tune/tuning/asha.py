"""ASHA with rungs for each recipe, so that a slow-starting network is not compared with one that is good at once.

Asynchronous successive halving as in Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020),
in the stopping variant that Ray Tune's ASHAScheduler implements, with its rule for the cutoff. Ray's own scheduler is
not used: its rungs are lost when a search is resumed, and they are keyed by Ray's trial ids, which change. These rungs
are filled from the study and keyed by its trial numbers.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from tune.experiment.trial_record import TrialRecord


class Rungs:
    """The best-so-far values of one recipe's trials at each milestone."""

    def __init__(self, at: list[int], reduction_factor: int, *, maximize: bool) -> None:
        self._sign = 1.0 if maximize else -1.0
        self._quantile = 1 - 1 / reduction_factor
        self._rungs: dict[int, dict[int, float]] = {milestone: {} for milestone in at}

    def survives(self, number: int, epoch: int, value: float) -> bool:
        """Record a trial's value at an epoch; return False if it is not in the best 1/factor of those before it."""
        rung = self._rungs.get(epoch)
        if rung is None or number in rung:
            return True
        others = list(rung.values())
        rung[number] = self._sign * value
        return not others or rung[number] >= float(np.quantile(others, self._quantile))


class RecipeASHA(FIFOScheduler):
    """A scheduler that stops trials that fall behind the others of their recipe, and starts the rest in order.

    Attributes:
        errors: the errors by which trials failed, by Ray's ids. Ray does not pass them to the searcher.
    """

    def __init__(self, at: list[int], reduction_factor: int, *, maximize: bool, known: Iterable[TrialRecord]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.errors: dict[str, Exception] = {}
        self._rungs: defaultdict[str, Rungs] = defaultdict(partial(Rungs, at, reduction_factor, maximize=maximize))
        for record in known:
            decided = sorted(record.values.items())
            if record.state == "running":  # its last epoch is reported again, to be decided again
                decided = decided[:-1]
            for epoch, value in decided:
                self._rungs[record.recipe].survives(record.number, epoch, value)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide if a trial goes on. Ray calls this after each epoch, except a trial's last, which is not compared."""
        rungs = self._rungs[trial.config["recipe"]]
        survives = rungs.survives(result["number"], result["epoch"], result["best"])
        return str(FIFOScheduler.CONTINUE if survives else FIFOScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Keep the error of a failed trial. Ray calls this before it tells the searcher of the failure."""
        super().on_trial_error(tune_controller, trial)
        if trial.pickled_error_file:
            self.errors[trial.trial_id] = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
