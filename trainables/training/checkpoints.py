"""Checkpoints of one trial: the last epoch and the best, nothing else.

A checkpoint is a folder `ATTEMPT-EPOCH` that appears whole, by a rename. Each attempt has its own name, so a process
that was only cut off can never overwrite its successor's checkpoints. Each checkpoint records its configuration, so no
trial continues from one that a lost search left under the same trial number. Weights are safetensors. The state is read
with torch's restricted unpickler, which builds only tensors, numbers and containers.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from trainables.storage.synced_folder import SyncedFolder, patiently
from trainables.training.iterate import EpochResult
from trainables.training.metrics import EpochFigures
from trainables.training.protocol import State

HISTORY = "history.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A saved epoch.

    Attributes:
        state: the state that `train` continues from, including the weights.
        history: the reports of all epochs so far.
        end: how the trial ended with this epoch; empty if epochs follow.
    """

    state: State
    history: list[EpochFigures]
    end: str


class Checkpoints:
    """The checkpoints in a folder, as one attempt at a trial writes and reads them.

    Attributes:
        place: the folder of all attempts.
        attempt: numbers joined by dots, which sort after those of earlier attempts.
        of: the description of what is trained, JSON-able; checkpoints with another description are ignored.
    """

    def __init__(self, place: SyncedFolder, attempt: str, of: Mapping[str, Any]) -> None:
        self.place, self.attempt = place, attempt
        self.of = json.loads(json.dumps(of))

    def save(self, result: EpochResult, history: list[EpochFigures], *, end: str, best: int) -> None:
        """Write the epoch of `result`, which is the last in `history`; then delete all others except epoch `best`.

        Raises:
            OSError: the storage is full or gone, and stays so.
        """
        name = f"{self.attempt}-{result.epoch:04d}"
        model, state = weights_of(result.model), BytesIO()
        torch.save(dict(result.state), state)

        def write() -> None:
            draft = self.place.folder / f".{name}"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            (draft / "model.safetensors").write_bytes(model)
            (draft / "state.pt").write_bytes(state.getbuffer())
            (draft / HISTORY).write_text(json.dumps({"of": self.of, "epochs": history, "end": end}))
            draft.rename(self.place.folder / name)

        patiently(write, self.place.patience)
        self.place.push(name, last=HISTORY)
        for other in self._whole():
            if other.name != name and _epoch(other) != best and _attempt(other) <= _parts(self.attempt):
                shutil.rmtree(other, ignore_errors=True)
                self.place.remove(other.name, first=HISTORY)

    def load(self) -> Checkpoint | None:
        """Return the last whole epoch of any attempt, or None.

        Raises:
            OSError: the storage is gone, and stays so.
        """
        self.place.pull(last=HISTORY)
        for folder in reversed(self._whole()):
            saved = json.loads((folder / HISTORY).read_text())
            if saved["of"] != self.of:
                continue
            state: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
            state["model"] = load_file(folder / "model.safetensors")
            return Checkpoint(state=state, history=saved["epochs"], end=saved["end"])
        return None

    def _whole(self) -> list[Path]:
        """Return the folders of whole epochs, sorted by epoch and then attempt."""
        found = (f for f in self.place.folder.glob("[0-9]*-[0-9]*") if (f / HISTORY).exists())
        return sorted(found, key=lambda f: (_epoch(f), _attempt(f)))


def weights_of(model: nn.Module) -> bytes:
    """Serialize the parameters and buffers of `model` in the safetensors format."""
    return save({name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()})


def _attempt(folder: Path) -> list[int]:
    return _parts(folder.name.partition("-")[0])


def _parts(attempt: str) -> list[int]:
    return [int(part) for part in attempt.split(".")]


def _epoch(folder: Path) -> int:
    return int(folder.name.partition("-")[2])
