"""The one Ray trainable, which drives any recipe's generator.

Its process trains one trial after another, of any recipe: data stays on the device, models do not.
"""

import os
from collections.abc import Generator
from contextlib import suppress
from socket import gethostname
from typing import Any

import torch
from ray.tune import Trainable

from search_spaces import space_of
from trainables.training.iterate import release, run
from tune.cluster.resources import this_node
from tune.experiment.trial_context import TrialContext, data_bytes
from tune.experiment.trial_files import TrialFiles
from tune.experiment.trial_record import TrialRecord

LEAK_BYTES = 64 * 2**20
"""GPU memory that may stay allocated beyond the data after a model is released: cuBLAS keeps a workspace."""


def trial_config(record: TrialRecord, attempt: str, settings: TrialContext) -> dict[str, Any]:
    """Return the config that Ray passes to the trainable: a trial's record, attempt name and trial context."""
    return {
        "number": record.number,
        "recipe": record.recipe,
        "config": record.config,
        "seed": record.seed,
        "attempt": attempt,
        "reported": len(record.epochs),
        "context": settings,
    }


class RecipeTrial(Trainable):
    """A trainable of one configuration, an epoch a step; the checkpoint is on disk before the epoch is reported."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the first trial of this process."""
        self._settings: TrialContext = config["context"]
        self._files = TrialFiles(self._settings.place, config["number"])
        self._node = self.find_node()
        self._attempt: str = config["attempt"]
        with suppress(OSError):  # essential writes wait for the storage; this one need not
            self._files.write_node(self._attempt, self._node)
        self._results = results(config, self._settings, self._files)

    def find_node(self) -> str:
        """Return the id of the node that this process runs on."""
        return this_node()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process.

        Raises:
            RuntimeError: the last trial left memory behind; Ray then replaces the process.
        """
        self.cleanup()
        device = self._settings.device
        left = release(torch.device(device)) - data_bytes.get(device, 0)
        if left > LEAK_BYTES:
            raise RuntimeError(f"{left / 2**20:.0f} MiB of the last trial stay allocated on {device}")
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch, evaluate it on val, and save it."""
        try:
            return {**next(self._results), "node": self._node, "worker": f"{gethostname()} {os.getpid()}"}
        except Exception:
            with suppress(OSError):
                self._files.write_error(self._attempt)
            raise

    def cleanup(self) -> None:
        """Release the model; if checkpoints are kept in a bucket, also delete this machine's copies of them."""
        self._results.close()
        if self._settings.copied_to:
            self._files.discard_local_checkpoints()


def results(config: dict[str, Any], settings: TrialContext, files: TrialFiles) -> Generator[dict[str, Any], None, None]:
    """Yield a trial's results as Ray gets them, an epoch each, from its last checkpoint on.

    "end" is empty while epochs follow, else "complete" or "diverged"; "best" is the best of the metric so far. Saved
    epochs are not trained again, but are reported again from the last one that the study knows. The driver may have
    died before it received them, or before it decided how the trial continues.
    """
    settings.prepare_process()
    space = space_of(config["recipe"]).of(config["config"])
    data = settings.load(space.input_variant)
    of = {key: config[key] for key in ("recipe", "config", "seed")}
    checkpoints = files.checkpoints(config["attempt"], of)
    saved = settings.place.believe(checkpoints.load)
    history = saved.history if saved else []
    objective = settings.objective

    def best_so_far() -> list[float]:
        return objective.best_so_far(figures[objective.metric] for figures in history)

    def result(epoch: int, end: str) -> dict[str, Any]:
        best = best_so_far()[epoch - 1]
        common = {"number": config["number"], "epoch": epoch, "best": best, "end": end, "done": bool(end)}
        return {**common, "figures": history[epoch - 1]}

    for epoch in range(max(1, config["reported"]), len(history) + 1):
        yield result(epoch, saved.end if saved and epoch == len(history) else "")
    if saved and saved.end:
        return
    state = saved.state if saved else None
    for step in run(config["recipe"], space, data, epochs=settings.max_epochs, seed=config["seed"], state=state):
        history.append(step.figures)
        end = "diverged" if step.diverged else "complete" if step.last else ""
        if not step.diverged:
            best = best_so_far()
            best_epoch = best.index(best[-1]) + 1
            checkpoints.save(step, history, end=end, best=best_epoch)
        yield result(step.epoch, end)
