"""Files of pretrained weights that an experiment trains from, recorded in its weights.json."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainables.storage.files import whole
from trainables.storage.synced_folder import SyncedFolder

WEIGHTS_FILE = "weights.json"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one network.

    Attributes:
        file: safetensors with all parameters and buffers, by the names of the network.
        source: their origin, for people.
        digest: SHA-256 of the file.
    """

    file: str
    source: str
    digest: str


def write_weights(folder: Path, found: Mapping[str, Weights]) -> None:
    """Record in an experiment's folder the weights that its recipes use, by `RECIPE.MODEL`."""
    with whole(folder / WEIGHTS_FILE) as draft:
        draft.write_text(json.dumps({name: asdict(weights) for name, weights in found.items()}, indent=1) + "\n")


def share_weights(found: Iterable[Weights], shared: str) -> None:
    """Copy the weight files to a folder or URL for `bring_weights` on other nodes, unless they are there.

    Raises:
        OSError: the place cannot be written.
    """
    for weights in found:
        file = Path(weights.file)
        place = _shared(file, shared)
        if not place.exists(file.name):
            place.push(file.name)


def bring_weights(folder: Path, shared: str) -> None:
    """Copy the weight files that an experiment's folder names to this node, unless they are here.

    Raises:
        OSError: they cannot be copied from there.
    """
    for weights in weights_of_experiment(folder).values():
        file = Path(weights.file)
        if not file.is_file():
            _shared(file, shared).fetch(file.name)
            file.stat()  # raises if there was none


def _shared(file: Path, shared: str) -> SyncedFolder:
    return SyncedFolder(file.parent, f"{shared}/.weights")


def weights_of_experiment(folder: Path) -> dict[str, Weights]:
    """Return the weights that `write_weights` recorded; empty if no network is pretrained."""
    file = folder / WEIGHTS_FILE
    noted: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return {name: Weights(**weights) for name, weights in noted.items()}
