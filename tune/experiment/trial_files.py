"""The files of one trial in an experiment's folder: checkpoints, tracebacks, the node that it ran on."""

import shutil
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trainables.storage.synced_folder import SyncedFolder
from trainables.training.checkpoints import Checkpoints

CHECKPOINTS = "checkpoints"


class TrialFiles:
    """The folder of a trial's own files: `trials/NUMBER/` in the experiment's folder."""

    def __init__(self, experiment: SyncedFolder, number: int) -> None:
        self.place = experiment.sub(f"trials/{number:05d}")
        self.folder = self.place.folder

    def checkpoints(self, attempt: str, of: Mapping[str, Any]) -> Checkpoints:
        """Return the checkpoints of the training that `of` describes, as an attempt writes them."""
        return Checkpoints(self.place.sub(CHECKPOINTS), attempt, of)

    def discard_checkpoints(self) -> None:
        """Delete the checkpoints, which are no longer needed.

        Raises:
            OSError: the storage is gone, and the checkpoints are left there.
        """
        self.discard_local_checkpoints()
        self.place.remove(CHECKPOINTS)

    def discard_local_checkpoints(self) -> None:
        """Delete the checkpoints on this machine."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder / CHECKPOINTS)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def write_error(self, attempt: str) -> None:
        """Write the traceback of the error that is being handled, for a person to read."""
        self.place.write(f"error-{attempt}.txt", traceback.format_exc())

    def write_node(self, attempt: str, node: str) -> None:
        """Note the node that an attempt runs on, because the attempt may be lost before it can report it."""
        self.place.write(_node(attempt), node)

    def node(self, attempt: str) -> str | None:
        """Return the node that an attempt ran on, or None if the attempt did not get that far."""
        with suppress(OSError):
            return replace(self.place, patience=0.0).read(_node(attempt))
        return None


def _node(attempt: str) -> str:
    return f"{CHECKPOINTS}/{attempt}.node"
