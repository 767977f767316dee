"""Folders with a copy elsewhere, such as in a bucket, with which each node exchanges the files it needs.

They use pyarrow's file systems, and so support s3:// and gs://. A bucket cannot rename. So a folder in it is whole once
the file that is copied last is there.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem, copy_files  # type: ignore[import-untyped]

from search_spaces import InputError
from trainables.storage.files import whole

T = TypeVar("T")

STORAGE_TIMEOUT_S = 120.0
"""Seconds for which failing storage is retried: it may be gone for a minute."""


def is_url(place: str) -> bool:
    """Return True if a place is a URL of a bucket and not a path."""
    return "://" in place


def patiently(do: Callable[[], T], patience: float = STORAGE_TIMEOUT_S) -> T:
    """Call `do`, which uses some storage, and retry for a while if it fails.

    Raises:
        FileNotFoundError: the requested file does not exist.
        OSError: it still fails.
    """
    end, pause = time.monotonic() + patience, 0.5
    while True:
        try:
            return do()
        except FileNotFoundError:
            raise
        except OSError:
            if time.monotonic() + pause > end:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 10.0)


def reason_of(error: OSError) -> str:
    """Return the reason for a storage failure in one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(" (Request ID")[0]


@dataclass(frozen=True)
class SyncedFolder:
    """A folder on this node, and the place of its copy.

    Names are of files and folders in both, with slashes. All methods raise OSError if the copy stays out of reach.

    Attributes:
        folder: the local folder, absolute.
        copy: the place of the copy, a URL or an absolute path; None if all nodes see `folder` itself, and nothing needs
            to be copied.
        patience: seconds for which a failure is retried.
    """

    folder: Path
    copy: str | None = None
    patience: float = STORAGE_TIMEOUT_S

    def __str__(self) -> str:
        return self.copy or str(self.folder)

    def sub(self, name: str) -> "SyncedFolder":
        """Return a folder inside; "." is the folder itself."""
        if name == ".":
            return self
        return SyncedFolder(self.folder / name, self.copy and f"{self.copy}/{name}", self.patience)

    def believe(self, look: Callable[[], T]) -> T:
        """Return the result of `look` in a folder that all nodes see; retry while the folder is gone.

        Raises:
            FileNotFoundError: the requested file does not exist, but the folder does.
        """

        def attempt() -> T:
            self._look()
            try:
                return look()
            finally:
                self._look()

        return patiently(attempt, self.patience)

    def _look(self) -> None:
        if self.copy is None and not self.folder.is_dir():
            raise OSError(errno.EHOSTDOWN, "is gone", str(self.folder))

    def exists(self, name: str) -> bool:
        """Return True if a file is in the copy."""
        if self.copy is None:
            return (self.folder / name).is_file()
        (info,) = self._infos([name])
        return bool(info.type == FileType.File)

    def is_empty(self) -> bool:
        """Return True if the copy is empty."""
        return self.copy is None or not self._files()

    def push(self, *names: str, last: str = "") -> None:
        """Copy files and folders to the copy, and those called `last` after all others."""
        if self.copy is None:
            return
        system, base = self._there
        places = [self.folder / name for name in names]
        files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*")))]
        for file in sorted((file for file in files if file.is_file()), key=lambda file: file.name == last):
            target = f"{base}/{file.relative_to(self.folder).as_posix()}"
            if isinstance(system, LocalFileSystem):
                with whole(Path(target)) as draft:
                    self._transfer(str(file), str(draft), destination_filesystem=system)
            else:
                self._transfer(str(file), target, destination_filesystem=system)

    def fetch(self, *names: str) -> None:
        """Copy files from the copy, unless they are unchanged; leave files here that the copy lacks."""
        if self.copy is not None:
            self._fetch([info for info in self._infos(names) if info.type == FileType.File])

    def fetch_all(self, *, leave_out: Collection[str], last: str) -> None:
        """Copy all files like `fetch`, except those in the folders `leave_out`; copy those called `last` last."""
        if self.copy is not None:
            infos = [info for info in self._files() if self._name(info).partition("/")[0] not in leave_out]
            self._fetch(sorted(infos, key=lambda info: bool(info.base_name == last)))

    def pull(self, name: str = "", *, last: str) -> None:
        """Copy those folders inside `name` that are whole in the copy, with a file `last`, and are not here."""
        if self.copy is None:
            return
        for folder in [self._name(info).rpartition("/")[0] for info in self._files(name) if info.base_name == last]:
            with suppress(FileNotFoundError):  # it was deleted meanwhile
                self.pull_one(folder, last=last)

    def pull_one(self, name: str, *, last: str) -> None:
        """Copy a whole folder from the copy, unless it is here.

        Raises:
            FileNotFoundError: there is none.
        """
        place = self.folder / name
        if self.copy is None or (place / last).is_file():
            return
        system, base = self._there
        with self._writing():
            if (place / last).is_file():
                return  # another process on this node was first
            draft = place.with_name(f".{place.name}.draft")
            for left in (draft, place):
                shutil.rmtree(left, ignore_errors=True)
            draft.mkdir(parents=True)
            self._transfer(f"{base}/{name}", str(draft), source_filesystem=system)
            (draft / last).stat()
            draft.rename(place)

    def remove(self, name: str = "", *, first: str = "") -> None:
        """Delete a file or a folder in the copy; its file `first` goes before the others."""
        if self.copy is None:
            return
        system, _ = self._there
        for info in self._infos([f"{name}/{first}", name] if first else [name]):
            if info.type == FileType.Directory:
                patiently(partial(system.delete_dir, info.path), self.patience)
            elif info.type == FileType.File:
                patiently(partial(system.delete_file, info.path), self.patience)

    def write(self, name: str, text: str) -> None:
        """Write a file, here and in the copy, so that it appears whole."""

        def write() -> None:
            with whole(self.folder / name) as draft:
                draft.write_text(text)

        patiently(write, self.patience)
        self.push(name)

    def read(self, name: str) -> str | None:
        """Return the text of a file, now in the copy or else last seen here; None if there is none."""
        self.fetch(name)
        with suppress(FileNotFoundError):
            return (self.folder / name).read_text()
        return None

    def try_writing(self, name: str) -> None:
        """Write a file, here and in the copy, and delete it again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).touch()
        try:
            self.push(name)
            self.remove(name)
        finally:
            (self.folder / name).unlink()

    @property
    def _there(self) -> tuple[FileSystem, str]:
        assert self.copy is not None
        return _opened(self.copy)

    def _infos(self, names: Collection[str]) -> list[FileInfo]:
        system, base = self._there
        paths = [f"{base}/{name}".rstrip("/") for name in names]
        infos: list[FileInfo] = patiently(lambda: system.get_file_info(paths), self.patience)
        return infos

    def _files(self, name: str = "") -> list[FileInfo]:
        """List all files in a folder of the copy, at any depth, without names that would lead out of it here."""
        system, base = self._there
        selector = FileSelector(f"{base}/{name}".rstrip("/"), allow_not_found=True, recursive=True)
        infos = patiently(lambda: system.get_file_info(selector), self.patience)
        return [info for info in infos if info.type == FileType.File and ".." not in info.path.split("/")]

    def _fetch(self, infos: list[FileInfo]) -> None:
        system, _ = self._there
        for info in infos:
            place = self.folder / self._name(info)
            if _is_as(place, info):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._writing():
                draft = place.with_name(f".{place.name}.draft")
                self._transfer(info.path, str(draft), source_filesystem=system)
                os.utime(draft, (info.mtime.timestamp(), info.mtime.timestamp()))
                draft.replace(place)

    def _writing(self) -> FileLock:
        """Return the lock that lets one process of this node at a time write here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".sync.lock")

    def _transfer(self, source: str, target: str, **systems: FileSystem) -> None:
        patiently(lambda: copy_files(source, target, **systems), self.patience)

    def _name(self, info: FileInfo) -> str:
        name: str = info.path.removeprefix(f"{self._there[1]}/")
        return name


def _is_as(place: Path, info: FileInfo) -> bool:
    """Return True if the file here is the copy's version; its time is the storage's, as clocks differ."""
    try:
        here = place.stat()
    except FileNotFoundError:
        return False
    return bool(here.st_size == info.size and here.st_mtime == info.mtime.timestamp())


def _opened(place: str) -> tuple[FileSystem, str]:
    """Return the file system of a place, and its path there."""
    scheme, url, path = place.partition("://")
    return (_bucket(f"{scheme}://{path.partition('/')[0]}"), path) if url else (LocalFileSystem(), place)


@cache
def _bucket(url: str) -> FileSystem:
    try:
        return FileSystem.from_uri(url)[0]
    except OSError as error:
        raise InputError(
            f"{url}: cannot be reached: {reason_of(error)}; is there such a bucket, and a network?"
        ) from None
    except (ValueError, ImportError) as error:  # another scheme, or a name that no bucket can have
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{url}: is no bucket ({reason}); give s3://BUCKET/FOLDER or gs://BUCKET/FOLDER") from None
