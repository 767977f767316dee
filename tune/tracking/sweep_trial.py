"""One trial that a W&B sweep has drawn. An agent starts it in a process of its own, without Ray."""

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import torch
import wandb
from rich.console import Console

from search_spaces import InputError, Space, space_of
from trainables.data import load_train, prepare_input_variants
from trainables.storage.pretrained_files import write_weights
from trainables.training.iterate import run
from trainables.training.protocol import import_recipes
from tune.experiment.epoch_log import row
from tune.experiment.input_variants import shown_to, spec_of
from tune.experiment.pretrained_weights import pretrained_weights
from tune.settings.settings import Settings
from tune.tracking.sweeps import configuration, drawn_by

FINISH_TIMEOUT_S = 20.0
"""Seconds to send the remaining data: an agent that stops a trial kills it after thirty."""


class Stopped(BaseException):
    """The request of W&B, or of a person there, to stop the trial. It is no error, and no recipe may catch it."""


def train(settings: Settings) -> None:
    """Train the configuration that the sweep has drawn, log every epoch, and stop on request; test images are not read.

    Raises:
        InputError: no agent started the process, or the sweep draws something that does not exist.
    """
    if "WANDB_SWEEP_ID" not in os.environ:
        raise InputError("--sweep-trial: is for the agents of a sweep; start some with: toprung agent SWEEP")
    signal.signal(signal.SIGTERM, _stop)
    own = wandb.Settings(
        silent=True, console="off", disable_git=True, finish_timeout=FINISH_TIMEOUT_S,
        stop_fn=lambda: os.kill(os.getpid(), signal.SIGTERM),
    )  # fmt: skip
    tracked = wandb.init(job_type="trial", settings=own)
    state, code = "failed", 1
    try:
        state = _train(settings, tracked)
        code = 1 if state == "failed" else 0
    except Stopped:
        state, code = "stopped", 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending
        tracked.summary["state"] = state
        tracked.finish(exit_code=code)


def _train(settings: Settings, tracked: wandb.Run) -> str:
    """Train the drawn configuration, and return its final state."""
    recipe, values = drawn_by(dict(tracked.config), settings.recipes)
    import_recipes(settings.recipes)
    space = configuration(space_of(recipe), values)
    input_variant = shown_to(space, settings)
    (prepared,) = prepare_input_variants([spec_of(settings, input_variant)], cache=Path(settings.cache))
    space = space.within(type(space).clamped(prepared.shape, type(space).domains()))
    ran = {"recipe": recipe, **space.active(), "seed": settings.seed}
    drawn = dict(tracked.config)  # W&B keeps it as it is, though not all of it is trained, or fits the data
    new = {key: value for key, value in {**ran, "data": settings.data, "trained": ran}.items() if key not in drawn}
    tracked.config.update(new)  # type: ignore[no-untyped-call]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    objective = settings.objective
    best: float | None = None
    with TemporaryDirectory(prefix="toprung-") as scratch:
        folder = Path(scratch)
        prepared.write(folder)
        write_weights(
            folder, pretrained_weights(_only(settings, recipe, space), None, {input_variant: prepared}, Console())
        )
        data = load_train(folder, device)
        for epoch in run(recipe, space, data, epochs=settings.max_epochs, seed=settings.seed):
            if epoch.diverged:
                tracked.summary["note"] = f"diverged in epoch {epoch.epoch}"
                return "failed"
            value = epoch.figures[objective.metric]
            if best is None or objective.is_better(value, than=best):
                best = value
            tracked.log(row(epoch.epoch, epoch.figures, best), step=epoch.epoch)
    return "complete"


def _only(settings: Settings, recipe: str, space: Space) -> Settings:
    """Return the settings of a search of a single configuration, so that only its weights are loaded."""
    fixed = {f"{recipe}.{name}": str(value) for name, value in space.active().items()}
    return settings.model_copy(update={"recipes": (recipe,), "set": fixed})


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped
