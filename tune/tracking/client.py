"""W&B's client: how runs are begun, and requests that it does not retry by itself."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import wandb

from trainables.training.metrics import EpochFigures
from tune.cluster.wandb_private import run_settings
from tune.experiment.epoch_log import row
from tune.experiment.experiment import Experiment
from tune.settings.settings import Settings

INIT_TIMEOUT_S, FINISH_TIMEOUT_S = 25.0, 30.0
"""Seconds that W&B gets to begin a run, and to finish one."""

FLUSH_S = 1.0
"""Seconds after which a run's metrics are in its file."""

RETRY_AFTER_S = 1.0, 5.0
"""Seconds before W&B's client retries: the first pause and the longest."""

RETRY_PAUSES_S = (0.5, 1.0, 2.0)
"""Seconds before each retry of a request that W&B's client does not retry by itself."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RunStarter:
    """The common facts of an experiment's runs.

    Attributes:
        experiment, settings: the experiment.
        online: False to write runs to files.
        identity: of the study, with which the ids of runs begin.
        sweep: ENTITY/PROJECT/ID of the sweep that shows the trials; empty without one.
    """

    experiment: Experiment
    settings: Settings
    online: bool
    identity: str
    sweep: str

    def __call__(
        self,
        key: str,
        name: str,
        job: str,
        config: Mapping[str, Any],
        tags: Sequence[str],
        *,
        in_sweep: bool = False,
        by_epoch: bool = False,
    ) -> wandb.Run:
        """Begin a run, or continue the one with this key; `by_epoch` counts its steps in epochs."""
        settings = self.settings
        own = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
            finish_timeout_raises=True,
            stop_fn=_go_on,
            sweep_id=self.sweep.rpartition("/")[2] if in_sweep and self.sweep else None,
            **run_settings(flush_s=FLUSH_S, retry_after_s=RETRY_AFTER_S),
        )
        run = wandb.init(
            mode="online" if self.online else "offline",
            dir=str(self.experiment.folder),
            project=settings.wandb_project,
            entity=settings.wandb_entity,
            group=settings.wandb_group or settings.name,
            job_type=job,
            name=name,
            id=f"{self.identity}-{key}",
            tags=[*tags, *settings.wandb_tags],
            config=dict(config),
            resume="allow" if self.online else None,
            reinit="create_new",
            settings=own,
        )
        if by_epoch:
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
        return run


def log_epochs(run: wandb.Run, epochs: Sequence[EpochFigures], best_so_far: Mapping[int, float]) -> None:
    """Log the epochs that W&B does not have yet; the best-so-far values are given by epoch."""
    for epoch, figures in enumerate(epochs, start=1):
        if epoch >= run.step:
            run.log(row(epoch, figures, best_so_far.get(epoch)), step=epoch)


def retry_request(do: Callable[[], T]) -> T:
    """Retry a request of W&B's client, which gives up sooner on requests of its own than on streams."""
    for pause in RETRY_PAUSES_S:
        try:
            return do()
        except Exception:
            traceback.print_exc()
            time.sleep(pause)
    return do()


def _go_on() -> None:
    """Do nothing if a person stops a run in W&B: the search itself decides which trials go on."""
