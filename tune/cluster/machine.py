"""Resources of a machine and their problems, checked before each search and by `toprung doctor`."""

import hashlib
import os
import platform
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from trainables.storage.synced_folder import is_url, reason_of
from tune.experiment.environment import PACKAGES
from tune.settings.settings import Settings
from tune.version import __version__

GIB = 2**30

LOW_DISK_BYTES = 4 * GIB
"""Free bytes below which a person is warned. A small search's checkpoints and decoded images take this much."""

FULL_DISK_BYTES = GIB // 4
"""Free bytes in --out below which no search begins."""

LOW_SHARED_MEMORY_BYTES = GIB // 2
"""Free bytes below which a person is warned. Ray then keeps its objects on disk, and says so only in a log."""

SHARED_MEMORY = Path("/dev/shm")

CODE = "toprung's code"
"""The name of our code's digest among the versions. Our files can change without a new version number."""


Level = Literal["ok", "warning", "error"]


ROOT = Path(__file__).parents[2]
"""The folder of the three packages."""


@dataclass(frozen=True)
class Finding:
    """The result of a check, in a line that ends with the way out if something is wrong.

    Attributes:
        level: "error" if a search would fail, "warning" if it may suffer.
        check: the subject of the check, in a word or two.
        text: the result; if something is wrong, it can be understood without `check`.
    """

    level: Level
    check: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The state of a machine.

    Attributes:
        host: its name.
        versions: of Python, of the packages that figures depend on, and of our own code; "none" for a missing one.
        gpus: name and memory of each GPU that PyTorch reaches; empty if names were not asked for.
        gpu_problem: why PyTorch reaches none of the GPUs that are there; empty if there is no problem.
        cuda_built: True if PyTorch was built for GPUs at all.
        free: free bytes, by the flag and folder that need them.
        unwritable: why a folder cannot be written to, by flag and folder.
        shared_memory: free bytes of shared memory; None if there is none, as on macOS.
    """

    host: str
    versions: dict[str, str]
    gpus: tuple[str, ...]
    gpu_problem: str
    cuda_built: bool
    free: dict[str, int]
    unwritable: dict[str, str]
    shared_memory: int | None


def places_of(settings: Settings) -> dict[str, str]:
    """Return the folders on a machine's own disks that a search writes to, by flag."""
    places = {"--cache": settings.cache, "--out": settings.out}
    return {flag: place for flag, place in places.items() if not is_url(place)}


def look(places: Mapping[str, str], *, name_gpus: bool = False) -> Machine:
    """Examine the machine that this process runs on.

    Args:
        places: folders by flag, as from `places_of`; a folder need not exist.
        name_gpus: also read each GPU's name and memory, which starts CUDA in this process.
    """
    problem = gpu_problem()
    free, unwritable = {}, {}
    for flag, place in places.items():
        what, folder = f"{flag} {place}", nearest(Path(place))
        try:
            free[what] = shutil.disk_usage(folder).free
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            unwritable[what] = error.strerror or reason_of(error)
    return Machine(
        host=socket.gethostname(),
        versions=versions(),
        gpus=_gpus() if name_gpus and not problem else (),
        gpu_problem=problem,
        cuda_built=torch.version.cuda is not None,
        free=free,
        unwritable=unwritable,
        shared_memory=shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None,
    )


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest existing one above it."""
    return next(each for each in (folder, *folder.parents) if each.exists())


@cache
def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the versions of all software that the figures of a trial depend on: Python, packages and our code."""

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "none"

    found = {name: of(name) for name in packages}
    return {"Python": platform.python_version(), **found, "toprung": __version__, CODE: digest_of_code()}


def digest_of_code(root: Path = ROOT) -> str:
    """Return a digest of our own code, because a checkout changed on only some nodes keeps its version number."""
    digest = hashlib.sha256()
    for package in ("search_spaces", "trainables", "tune"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def gpu_problem(
    devices: Path = Path("/dev"),
    built_for: str | None = torch.version.cuda,
    is_available: Callable[[], bool] = torch.cuda.is_available,
) -> str:
    """Return why PyTorch reaches none of the GPUs given to us; an empty text if it does, or if there are no GPUs.

    Args:
        devices: the folder of device files.
        built_for: the version of CUDA that PyTorch was built for, if any.
        is_available: a function that returns True if PyTorch reaches a GPU, and warns of the reason if it does not.
    """
    given = any(devices.glob("nvidia[0-9]*"))  # in a container, only the GPUs given to it, unlike in /proc
    if not given or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return ""
    if built_for is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if is_available():
            return ""
    # the first sentence of "CUDA initialization: The NVIDIA driver on your system is too old (found version 12020)..."
    reason = str(said[-1].message).partition("Please")[0].removeprefix("CUDA initialization: ") if said else ""
    return reason.strip().rstrip(".") or f"PyTorch for CUDA {built_for} does not reach it"


def _gpus() -> tuple[str, ...]:
    found = [torch.cuda.get_device_properties(each) for each in range(torch.cuda.device_count())]
    return tuple(f"{each.name} of {each.total_memory / GIB:.0f} GiB" for each in found)


def examined(machine: Machine, *, trains_on_gpus: bool) -> Iterator[Finding]:
    """Yield the findings on a machine: one for each check, or several if several things are wrong.

    Args:
        machine: the machine, as `look` found it.
        trains_on_gpus: True if trials shall train on its GPUs, if it has any.
    """
    yield _of_gpus(machine, trains_on_gpus)
    disk = list(_of_disk(machine))
    yield from disk or [Finding("ok", "disk", ", ".join(f"{w}: {gib(free)} free" for w, free in machine.free.items()))]
    if machine.shared_memory is not None:
        yield _of_shared_memory(machine.shared_memory)


def _of_gpus(machine: Machine, trains_on_gpus: bool) -> Finding:
    if not machine.gpu_problem:
        return Finding("ok", "GPUs", ", ".join(machine.gpus) or "none")
    if not trains_on_gpus:
        return Finding("ok", "GPUs", f"not used: {machine.gpu_problem}")
    if not machine.cuda_built:
        mend = "install PyTorch for CUDA, or say --gpus-per-trial 0"
        return Finding("warning", "GPUs", f"GPUs are there, but trials train on cores: {machine.gpu_problem}; {mend}")
    mend = "install a newer driver, or a PyTorch for the CUDA of this one, or train on cores: --gpus-per-trial 0"
    return Finding("error", "GPUs", f"GPUs are there, but cannot be used: {machine.gpu_problem}; {mend}")


def _of_disk(machine: Machine) -> Iterator[Finding]:
    """Yield disk problems. --out needs free space and write permission; --cache needs them only for missing data."""
    for what, reason in machine.unwritable.items():
        flag = what.partition(" ")[0]
        if flag == "--cache":
            text = "so that nothing can be decoded into it; data that are there already will do"
            yield Finding("warning", "disk", f"{what}: cannot be written ({reason}), {text}, or another --cache")
        else:
            yield Finding("error", "disk", f"{what}: cannot be written: {reason}; give a folder that can")
    for what, free in machine.free.items():
        flag = what.partition(" ")[0]
        if free < LOW_DISK_BYTES and what not in machine.unwritable:
            level: Level = "error" if free < FULL_DISK_BYTES and flag != "--cache" else "warning"
            yield Finding(level, "disk", f"{what}: only {gib(free)} free; make room, or give another {flag}")


def _of_shared_memory(free: int) -> Finding:
    if free >= LOW_SHARED_MEMORY_BYTES:
        return Finding("ok", "shared memory", f"{gib(free)} free in {SHARED_MEMORY}")
    mend = "delete what others left there or, in a container, give more: docker run --shm-size=1g"
    return Finding(
        "warning", "shared memory", f"only {gib(free)} free in {SHARED_MEMORY}, without which Ray is slow; {mend}"
    )


def differences(there: Machine, here: Machine) -> Iterator[Finding]:
    """Yield a warning for each version on a node that is not the driver's: the node's figures would differ."""
    for name, wanted in here.versions.items():
        found = there.versions.get(name, "none")
        if found == wanted:
            continue
        if name == CODE:
            text = "is not the driver's; bring this checkout to all nodes, as by ray up"
            yield Finding("warning", "versions", f"{CODE} {text}")
        else:
            mend = "install the same on all nodes, as constraints.txt says"
            yield Finding("warning", "versions", f"{name} {found}, but {wanted} here; {mend}")


def on_node(host: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings, and name the node in those that report a problem."""
    for finding in findings:
        text = finding.text if finding.level == "ok" else f"node {host}: {finding.text}"
        yield Finding(finding.level, finding.check, text)


def port(number: int, mend: str) -> Finding:
    """Check that a port of this machine is free for the program that will listen there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port closed a moment ago counts as free
        try:
            tried.bind(("", number))
        except OSError:
            return Finding("warning", "ports", f"{number} is taken; {mend}")
    return Finding("ok", "ports", f"{number} is free")


def gib(count: int) -> str:
    """Format a number of bytes for people, in GiB or MiB."""
    return f"{count / GIB:.0f} GiB" if count >= 10 * GIB else f"{count / 2**20:,.0f} MiB"
