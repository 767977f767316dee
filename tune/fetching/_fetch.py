"""A data set from where it is published, or from a copy, into a folder that is whole or not there."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from search_spaces import InputError
from tune.fetching._download import Remote, UnreachableError, check, download, need_space
from tune.fetching._published import DATA_SETS, Published
from tune.fetching._unpack import unpack

CARD = ".fetched.json"
"""What a folder says of itself: what it is, from where and when, and how many files it had."""

DRAFT = "unpacked"
Meter = Callable[[int, int | None], None]


def fetch(name: str, to: Path, archive: Path | None, console: Console) -> str:
    """Fetch a data set into a folder that appears once it is whole; returns what `--data` takes.

    What is downloaded lies in `TO.partial` until then, so that a broken download goes on there. A folder that was
    fetched before is left as it is.

    Args:
        name: one of DATA_SETS.
        to: the folder, which does not exist or is empty.
        archive: a copy of what is published, to be used instead of a download; of a set of files, a tar or zip of
            them.
        console: shows progress.

    Raises:
        InputError: it cannot be had, is not what was published, or the folder is taken or has no room.
    """
    published, to = DATA_SETS[name], to.expanduser().absolute()
    data = published.data.format(to)
    if _is_there(name, to):
        console.print(f"{name} is there already: {to}", soft_wrap=True, highlight=False)
        return data
    if archive is None and published.files is None:
        raise InputError(
            f"{name} asks for a login: download the zip from {published.page}, then: "
            f"toprung fetch {name} --from ARCHIVE"
        )
    with _locked(to.with_name(f"{to.name}.partial"), to) as work, _progress(console) as progress:
        if _is_there(name, to):  # another process had the lock
            return data
        draft = work / DRAFT
        shutil.rmtree(draft, ignore_errors=True)
        if archive is not None:
            archive = archive.expanduser().absolute()
            if archive.is_file():
                check(archive, published.checksum, f"--from {archive}")
            need_space(to, published.size)
            sources, placed = [str(archive)], _unpacked(archive, draft, published, progress)
        else:
            sources, placed = _downloaded(name, published, work, draft, progress)
        paths = _arrange(draft, published.arrange(placed)) if published.arrange else placed
        card = {"data": name, "from": sources, "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "files": len(paths)}
        (draft / CARD).write_text(json.dumps(card, indent=1) + "\n")
        draft.replace(to)
        for file in work.glob("[!.]*"):
            file.unlink()
    console.print(f"{name}: {_counts(paths)} in {to}", soft_wrap=True, highlight=False)
    return data


def _arrange(draft: Path, place_of: Mapping[str, str]) -> list[str]:
    """Move each file to its place in the end; returns the places."""
    for before, after in place_of.items():
        (draft / after).parent.mkdir(parents=True, exist_ok=True)
        (draft / before).rename(draft / after)
    for folder in {(draft / before).parent for before in place_of}:
        folder.rmdir()
    return list(place_of.values())


def _counts(paths: Sequence[str]) -> str:
    """Files of each split where there are splits, else of all."""
    of_folder = Counter(path.partition("/")[0] for path in paths)
    if "train" in of_folder:
        return ", ".join(f"{count} {split}" for split, count in of_folder.items())
    return f"{len(paths)} files"


def _is_there(name: str, to: Path) -> bool:
    """Whether the folder was fetched before.

    Raises:
        InputError: it holds something else, or no longer all files.
    """
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return False
    try:
        card = json.loads((to / CARD).read_text())
    except (OSError, ValueError):
        card = {}
    if card.get("data") != name:
        raise InputError(f"--to {to}: is there, but not from fetch {name}; give a folder that is not there")
    files = sum(path.is_file() for path in to.rglob("*")) - 1
    if files < card["files"]:
        raise InputError(
            f"--to {to}: was fetched with {card['files']} files and has {files}; delete it and fetch it again"
        )
    return True


def _downloaded(
    name: str, published: Published, work: Path, draft: Path, progress: Progress
) -> tuple[list[str], list[str]]:
    """Download what is published into `draft`; returns the URLs, and where the files were placed."""
    assert published.files is not None
    try:
        remotes = published.files()
        need_space(work, published.size + sum(_left(remote, work) for remote in remotes))
        for remote in remotes:
            with _meter(progress, _name(remote)) as advance:
                download(remote, work / _name(remote), advance=advance)
    except UnreachableError as error:
        raise InputError(
            f"{error}; where there is a network get it from {published.page}, then: toprung fetch {name} --from ARCHIVE"
        ) from None
    sources, files = [remote.url for remote in remotes], [work / _name(remote) for remote in remotes]
    if not published.archived:
        draft.mkdir()
        return sources, [file.rename(draft / file.name).name for file in files]
    (archive,) = files
    try:
        return sources, _unpacked(archive, draft, published, progress)
    except InputError:  # it is not what was published: the next time it is downloaded again
        archive.unlink()
        raise


def _unpacked(archive: Path, draft: Path, published: Published, progress: Progress) -> list[str]:
    """Unpack into `draft`; returns where the files were placed."""
    with _meter(progress, f"unpacking {archive.name}") as advance:
        placed = unpack(archive, draft, published.place, limit=published.limit, advance=lambda n: advance(n, None))
    missing = published.lacking(placed)
    if missing:
        raise InputError(f"{archive} lacks {missing}; see {published.page}, and get it again")
    return placed


def _name(remote: Remote) -> str:
    return remote.url.rpartition("/")[2]


def _left(remote: Remote, work: Path) -> int:
    """Bytes that are still to be downloaded; 0 where nobody says how many."""
    parts = (work / _name(remote), work / f"{_name(remote)}.part")
    return max(0, (remote.size or 0) - sum(part.stat().st_size for part in parts if part.exists()))


@contextmanager
def _locked(work: Path, to: Path) -> Iterator[Path]:
    """The folder of what is not yet whole, for this process alone; downloads in it stay for the next time.

    Raises:
        InputError: it cannot be made, or another process has it.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / ".lock", blocking=False):
            try:
                yield work
            finally:
                shutil.rmtree(work / DRAFT, ignore_errors=True)
                if {path.name for path in work.iterdir()} <= {".lock"}:
                    shutil.rmtree(work)
    except Timeout:
        raise InputError(f"--to {to}: is being fetched by another process; wait for it") from None
    except OSError as error:
        raise InputError(f"--to {to}: {error.strerror or error}; choose a folder that can be written") from None


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


@contextmanager
def _meter(progress: Progress, title: str) -> Iterator[Meter]:
    task = progress.add_task(title, total=None)
    yield lambda done, total: progress.update(task, completed=done, total=total)
    progress.remove_task(task)
