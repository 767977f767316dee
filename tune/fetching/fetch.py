"""The fetching of a data set, from its publisher or from a copy, into a folder that appears only when complete."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from os import SEEK_END
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from search_spaces import InputError
from tune.fetching.download import Remote, check, download, need_space
from tune.fetching.published import DATA_SETS, Published
from tune.fetching.unpack import unpack
from tune.fetching.web_requests import UnreachableError

FETCH_RECORD = ".fetched.json"
"""The file in which a folder records its data set, source, time and number of files."""

DRAFT, LOCK = "unpacked", ".lock"
"""The folder and the file beside unfinished downloads: what is being unpacked, and the lock of the process."""

Meter = Callable[[int, int | None], None]


def fetch(name: str, to: Path, copy: Path | None, console: Console) -> str:
    """Fetch a data set into a folder that appears once it is complete, and return the value for `--data`.

    Downloads lie in `TO.partial` until then, so that a broken one continues there. A folder that was fetched before is
    left as it is.

    Args:
        name: one of DATA_SETS.
        to: the folder, which does not exist or is empty.
        copy: of the published files, to use instead of a download: the archive; or, for Parquet shards, one of them, a
            folder of them, or a tar or zip.
        console: shows progress.

    Raises:
        InputError: the data set cannot be had, is not what was published, or the folder is taken or has no room.
    """
    published, said, to = DATA_SETS[name], to, to.expanduser().absolute()
    data = published.data.format(to)
    if _is_there(name, to):
        if copy is not None:
            raise InputError(f"--from {copy}: {name} is there already, in {to}; delete it, or give another --to FOLDER")
        console.print(f"{name} is there already: {to}", soft_wrap=True, highlight=False)
        return data
    if copy is None and published.files is None:
        raise InputError(
            f"{name} asks for a login: download {published.copy} from {published.page}, then: "
            f"toprung fetch {name} --from ARCHIVE"
        )
    with _locked(to.with_name(f"{to.name}.partial"), to) as work, _progress(console) as progress:
        if _is_there(name, to):  # another process had the lock
            return data
        draft = work / DRAFT
        shutil.rmtree(draft, ignore_errors=True)
        if copy is None:
            sources, placed = _downloaded(name, published, said, work, draft, progress)
        else:
            copy = copy.expanduser().absolute()
            sources, placed = [str(copy)], _taken(copy, published, to, draft, progress)
        paths = _arrange(draft, published.arrange(placed)) if published.arrange else placed
        card = {"data": name, "from": sources, "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "files": len(paths)}
        (draft / FETCH_RECORD).write_text(json.dumps(card, indent=1) + "\n")
        draft.replace(to)
        for file in work.glob("[!.]*"):
            file.unlink()
    console.print(f"{name}: {_counts(paths)} in {to}", soft_wrap=True, highlight=False)
    return data


def _arrange(draft: Path, place_of: Mapping[str, str]) -> list[str]:
    """Move each file to its final place, and return the places."""
    for before, after in place_of.items():
        (draft / after).parent.mkdir(parents=True, exist_ok=True)
        (draft / before).rename(draft / after)
    for folder in {(draft / before).parent for before in place_of}:
        folder.rmdir()
    return list(place_of.values())


def _counts(paths: Sequence[str]) -> str:
    """Count the files of each split, or all files if there are no splits, as text."""
    of_folder = Counter(path.partition("/")[0] for path in paths)
    if "train" in of_folder:
        return ", ".join(f"{count} {split}" for split, count in of_folder.items())
    return f"{len(paths)} file{'' if len(paths) == 1 else 's'}"


def _is_there(name: str, to: Path) -> bool:
    """Return True if the folder was fetched before.

    Raises:
        InputError: it holds something else, or no longer all files.
    """
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return False
    try:
        card = json.loads((to / FETCH_RECORD).read_text())
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


def _taken(copy: Path, published: Published, to: Path, draft: Path, progress: Progress) -> list[str]:
    """Take a person's copy into `draft`, and return the paths of its files."""
    if not published.archived and (copy.is_dir() or copy.suffix == ".parquet"):
        return _copied(copy, to, draft)
    if copy.is_file():
        check(copy, published.checksum, f"--from {copy}")
    need_space(to, published.size)
    return _unpacked(copy, draft, published, progress)


def _copied(source: Path, to: Path, draft: Path) -> list[str]:
    """Copy a shard, or all shards at any depth of a folder, into `draft`, and return their names."""
    shards = [source] if source.suffix == ".parquet" else sorted(source.rglob("[!.]*.parquet"))
    if not shards:
        raise InputError(f"--from {source}: has no .parquet file; give the folder of the shards")
    names = [shard.name for shard in shards]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--from {source}: has {twice} twice, in folders; give the one that you mean")
    for shard in shards:
        _check_shard(shard)
    need_space(to, sum(shard.stat().st_size for shard in shards))
    draft.mkdir()
    for shard in shards:
        shutil.copyfile(shard, draft / shard.name)
    return names


def _check_shard(shard: Path) -> None:
    """Check that a file is Parquet, which begins and ends with PAR1; a clone without Git LFS has pointers instead.

    Raises:
        InputError: it is not, or it cannot be read.
    """
    try:
        with shard.open("rb") as file:
            begins = file.read(4)
            file.seek(-min(4, shard.stat().st_size), SEEK_END)
            ends = file.read()
    except OSError as error:
        raise InputError(f"--from {shard}: {error.strerror}; give a file that can be read") from None
    if not begins == ends == b"PAR1":
        raise InputError(f"--from {shard}: is no whole Parquet file; get it again")


def _downloaded(
    name: str, published: Published, to: Path, work: Path, draft: Path, progress: Progress
) -> tuple[list[str], list[str]]:
    """Download the published files into `draft`, and return their URLs and the paths of the files."""
    assert published.files is not None
    try:
        remotes = published.files()
        need_space(work, published.size + sum(_left(remote, work) for remote in remotes))
        for remote in remotes:
            with _meter(progress, _name(remote)) as advance:
                download(remote, work / _name(remote), advance=advance)
    except UnreachableError as error:
        then = (
            f"then: toprung fetch {name} --from ARCHIVE"
            if published.archived
            else f"put them into {to}/, and search it: toprung search --data {published.data.format(to)}"
        )
        raise InputError(
            f"{error}; get {published.copy} from {published.page} in a browser or on another machine, {then}"
        ) from None
    sources, files = [remote.url for remote in remotes], [work / _name(remote) for remote in remotes]
    if not published.archived:
        draft.mkdir()
        return sources, [file.rename(draft / file.name).name for file in files]
    (archive,) = files
    try:
        return sources, _unpacked(archive, draft, published, progress)
    except InputError:  # it is not what was published: download it again next time
        archive.unlink()
        raise


def _unpacked(archive: Path, draft: Path, published: Published, progress: Progress) -> list[str]:
    """Unpack into `draft`, and return the paths of the files."""
    with _meter(progress, f"unpacking {archive.name}") as advance:
        placed = unpack(archive, draft, published.place, limit=published.limit, advance=lambda n: advance(n, None))
    missing = published.lacking(placed)
    if missing:
        raise InputError(f"{archive} lacks {missing}; see {published.page}, and get it again")
    return placed


def _name(remote: Remote) -> str:
    return remote.url.rpartition("/")[2]


def _left(remote: Remote, work: Path) -> int:
    """Return the bytes that are still to be downloaded; 0 if their number is unknown."""
    parts = (work / _name(remote), work / f"{_name(remote)}.part")
    return max(0, (remote.size or 0) - sum(part.stat().st_size for part in parts if part.exists()))


@contextmanager
def _locked(work: Path, to: Path) -> Iterator[Path]:
    """Lock the folder of unfinished downloads for this process; downloads in it stay for the next time.

    Raises:
        InputError: the folder cannot be made, or another process has it.
    """
    made: list[Path] = []
    try:
        made = [parent for parent in work.parents if not parent.exists()]
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / LOCK, blocking=False):
            try:
                yield work
            finally:
                shutil.rmtree(work / DRAFT, ignore_errors=True)
                if {path.name for path in work.iterdir()} <= {LOCK}:
                    shutil.rmtree(work)
    except Timeout:
        raise InputError(f"--to {to}: is being fetched by another process; wait for it") from None
    except OSError as error:
        raise InputError(f"--to {to}: {error.strerror or error}; choose a folder that can be written") from None
    finally:
        with suppress(OSError):  # not empty: it has fetched files, or the beginning of them
            for parent in made:
                parent.rmdir()


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


@contextmanager
def _meter(progress: Progress, title: str) -> Iterator[Meter]:
    task = progress.add_task(title, total=None)
    yield lambda done, total: progress.update(task, completed=done, total=total)
    progress.remove_task(task)
