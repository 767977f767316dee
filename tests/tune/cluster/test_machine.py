import shutil
import socket
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from search_spaces import InputError
from tune.cluster import machine
from tune.cluster.checks import check_machine
from tune.cluster.machine import (
    CODE,
    FULL_DISK_BYTES,
    GIB,
    LOW_DISK_BYTES,
    Finding,
    Machine,
    differences,
    digest_of_code,
    examined,
    look,
    places_of,
)
from tune.settings.settings import make

WELL = Machine(
    host="one",
    versions={"Python": "3.11.9", "torch": "2.15.0", CODE: "abc"},
    gpus=("NVIDIA L4 of 22 GiB",),
    gpu_problem="",
    cuda_built=True,
    free={"--cache /c": 100 * GIB},
    unwritable={},
    shared_memory=8 * GIB,
)
OLD = "The NVIDIA driver on your system is too old (found version 11040)"


def wrong(there: Machine, *, trains_on_gpus: bool = True) -> list[tuple[str, str]]:
    found = examined(there, trains_on_gpus=trains_on_gpus)
    return [(finding.level, finding.text) for finding in found if finding.level != "ok"]


def test_where_all_is_well_there_is_a_line_a_check() -> None:
    assert list(examined(WELL, trains_on_gpus=True)) == [
        Finding("ok", "GPUs", "NVIDIA L4 of 22 GiB"),
        Finding("ok", "disk", "--cache /c: 100 GiB free"),
        Finding("ok", "shared memory", "8,192 MiB free in /dev/shm"),
    ]


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (LOW_DISK_BYTES, None),
        (LOW_DISK_BYTES - 1, "warning"),
        (FULL_DISK_BYTES, "warning"),
        (FULL_DISK_BYTES - 1, "error"),
    ],
)
def test_a_disk_is_low_or_full(free: int, level: str | None) -> None:
    found = wrong(replace(WELL, free={"--out /o": free}))
    assert [each for each, _ in found] == ([level] if level else [])
    assert all(text.endswith(" free; make room, or give another --out") for _, text in found)


def test_a_cache_that_is_full_or_read_only_will_do_where_the_data_are_in_it() -> None:
    there = replace(WELL, free={"--cache /c": 1, "--cache /d": 1}, unwritable={"--cache /d": "Read-only file system"})
    assert wrong(there) == [
        (
            "warning",
            "--cache /d: cannot be written (Read-only file system), so that nothing can be decoded into it; data that "
            "are there already will do, or another --cache",
        ),
        ("warning", "--cache /c: only 0 MiB free; make room, or give another --cache"),
    ]


def test_shared_memory_of_a_container_is_a_warning() -> None:
    ((level, text),) = wrong(replace(WELL, shared_memory=64 * 2**20))
    assert level == "warning"
    assert text.startswith("only 64 MiB free in /dev/shm")
    assert wrong(replace(WELL, shared_memory=None)) == [], "as on macOS"


def test_gpus_that_cannot_be_used_are_an_error_where_trials_want_them() -> None:
    broken = replace(WELL, gpus=(), gpu_problem=OLD)
    ((level, text),) = wrong(broken)
    assert level == "error"
    assert text.startswith(f"GPUs are there, but cannot be used: {OLD}; install a newer driver")
    assert wrong(broken, trains_on_gpus=False) == []
    assert [level for level, _ in wrong(replace(broken, cuda_built=False))] == ["warning"], "cores will do"


def test_why_a_gpu_is_not_reached_is_said_in_torchs_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old() -> bool:
        warnings.warn(f"CUDA initialization: {OLD}. Please update your GPU driver by a link", stacklevel=1)
        return False

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.gpu_problem(tmp_path, "13.0", too_old) == "", "there is none"
    (tmp_path / "nvidia0").touch()
    assert machine.gpu_problem(tmp_path, "13.0", too_old) == OLD
    assert machine.gpu_problem(tmp_path, "13.0", lambda: False) == "PyTorch for CUDA 13.0 does not reach it"
    assert machine.gpu_problem(tmp_path, "13.0", lambda: True) == ""
    assert machine.gpu_problem(tmp_path, None, too_old) == f"PyTorch {torch.__version__} is built without CUDA"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.gpu_problem(tmp_path, "13.0", too_old) == "", "a person wants it so"


def test_versions_that_differ_are_named_with_both() -> None:
    other = replace(WELL, versions={"Python": "3.11.9", "torch": "2.11.0", CODE: "abd"})
    assert [finding.text for finding in differences(other, WELL)] == [
        "torch 2.11.0, but 2.15.0 here; install the same on all nodes, as constraints.txt says",
        "toprung's code is not the driver's; bring this checkout to all nodes, as by ray up",
    ]
    assert list(differences(WELL, WELL)) == []


def test_another_line_of_code_is_another_version(tmp_path: Path) -> None:
    for package in ("search_spaces", "trainables", "tune"):
        shutil.copytree(Path(machine.__file__).parents[2] / package, tmp_path / package)
    before = digest_of_code(tmp_path)
    assert digest_of_code(tmp_path) == before == machine.versions()[CODE]
    with (tmp_path / "trainables" / "data" / "split.py").open("a") as file:
        file.write("#\n")
    assert digest_of_code(tmp_path) != before


def test_this_machine_is_found_with_folders_that_are_still_to_be_made(tmp_path: Path) -> None:
    made = look({"--cache": str(tmp_path / "a" / "b"), "--out": str(tmp_path)})
    assert set(made.free) == {f"--cache {tmp_path}/a/b", f"--out {tmp_path}"}
    assert made.unwritable == {}
    assert list(tmp_path.iterdir()) == [], "it leaves nothing"
    assert made.versions["torch"] == torch.__version__.partition("+")[0]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = wrong(look({"--out": str(tmp_path / "file")}))
    assert found == [("error", f"--out {tmp_path}/file: cannot be written: Not a directory; give a folder that can")]


def test_what_is_in_a_bucket_is_on_no_disk() -> None:
    assert set(places_of(make({"out": "s3://bucket/results"}))) == {"--cache"}
    assert set(places_of(make({}))) == {"--cache", "--out"}


def test_a_port_is_taken_while_someone_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
        assert machine.port(number, "take another") == Finding("warning", "ports", f"{number} is taken; take another")
    assert machine.port(number, "take another").level == "ok"


# The checks before a search begins


def with_free(free: int) -> Callable[[Mapping[str, str]], Machine]:
    """Return a machine with this much free space on all disks."""
    return lambda places: replace(WELL, free={f"{flag} {place}": free for flag, place in places.items()})


def test_a_search_says_nothing_where_all_is_well_warns_and_refuses(tmp_path: Path) -> None:
    settings = make({"cache": str(tmp_path), "out": str(tmp_path / "out[1]")})
    for free, expected in (
        (100 * GIB, []),
        (GIB, [
            f"warning: --cache {tmp_path}: only 1,024 MiB free; make room, or give another --cache",
            f"warning: --out {tmp_path}/out[1]: only 1,024 MiB free; make room, or give another --out",
        ]),
    ):  # fmt: skip
        console = Console(record=True, quiet=False, file=(tmp_path / "said").open("w"))
        check_machine(settings, console, with_free(free))
        assert console.export_text().splitlines() == expected
        console.file.close()
    with pytest.raises(InputError, match=r"^--out .*: only 0 MiB free; make room, or give another --out$"):
        check_machine(settings, Console(quiet=True), with_free(1))


def test_gpus_of_the_machine_matter_only_where_it_trains(tmp_path: Path) -> None:
    def look(places: Mapping[str, str]) -> Machine:
        return replace(WELL, gpus=(), gpu_problem=OLD)

    given = {"cache": str(tmp_path), "out": str(tmp_path), "address": "local"}
    with pytest.raises(InputError, match="driver on your system is too old"):
        check_machine(make(given), Console(quiet=True), look)
    check_machine(make({**given, "gpus_per_trial": 0}), Console(quiet=True), look)
    check_machine(make({**given, "address": "10.0.0.1:6379"}), Console(quiet=True), look)
