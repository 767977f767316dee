"""The unpacking of an untrusted archive.

It writes only regular files for which the caller has a place, with our own code and within a limit of bytes. An archive
with a member that could reach out of the folder is refused as a whole: it is not what was published.
"""

import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from search_spaces import InputError

MOST_MEMBERS = 200_000
BLOCK = 2**20
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # a password
)

Place = Callable[[PurePosixPath], str | None]
"""A function that returns a member's place, relative to the folder, or None to leave it out."""


@dataclass(frozen=True)
class Member:
    """A regular file of an archive: its path there, its size in bytes as the archive says, and its content."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, place: Place, *, limit: int, advance: Callable[[int], None]) -> list[str]:
    """Write the files that have a place into a folder, and return their paths relative to it, sorted.

    Args:
        archive: tar, also compressed, or zip.
        folder: is made.
        place: returns the place of a file, or None to leave it out.
        limit: bytes that all files of the archive may have.
        advance: called with the number of bytes passed so far.

    Raises:
        InputError: it is no archive, is damaged, has a member that is not safe, or is too large.
        OSError: the files cannot be written.
    """
    written: set[str] = set()
    total = 0
    try:
        with opened(archive) as members:
            for number, member in enumerate(members):
                total += member.size
                if total > limit or number >= MOST_MEMBERS:
                    raise _refused(archive, f"unpacks to more than {limit / 2**20:,.0f} MiB or {MOST_MEMBERS:,} files")
                where = place(member.path)
                if where is not None:
                    if where in written:
                        raise _refused(archive, f"has {member.path} twice")
                    written.add(where)
                    _write(member, folder, where, archive)
                advance(total)
    except InputError:
        raise
    except DAMAGED as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{archive} is damaged or no archive ({reason}); get it again") from None
    return sorted(written)


@contextmanager
def opened(archive: Path) -> Iterator[Iterator[Member]]:
    """Open a tar or zip, and yield its regular files, in its order.

    Raises:
        InputError: it is neither, or a member is not safe.
    """
    if archive.is_dir():
        raise InputError(f"--from {archive}: is a folder; give the tar or zip as it was published")
    if not archive.is_file():
        raise InputError(f"--from {archive}: there is no such file")
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield _of_zip(archive, zipped)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield _of_tar(archive, tar)
    else:
        raise InputError(f"--from {archive}: is neither a tar nor a zip; give the file as it was published")


def _of_tar(archive: Path, tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        path = _safe(archive, info.name)
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise _refused(archive, f"has {info.name}, which is not a plain file")
        tarfile.data_filter(info, "/unpacked")  # the library's own rules, in any version
        yield Member(path, info.size, lambda info=info: _content(tar, info))  # type: ignore[misc]


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    assert content is not None, "only regular files come here"
    return content


def _of_zip(archive: Path, zipped: zipfile.ZipFile) -> Iterator[Member]:
    for info in zipped.infolist():
        path = _safe(archive, info.filename)
        if info.is_dir():
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):  # 0: packed on a system without kinds of files
            raise _refused(archive, f"has {info.filename}, which is not a plain file")
        yield Member(path, info.file_size, lambda info=info: zipped.open(info))  # type: ignore[misc]


def _safe(archive: Path, name: str) -> PurePosixPath:
    """Return the path of a member; refuse the archive if it could lie outside of the folder it is unpacked to."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or re.match("[A-Za-z]:", name):
        raise _refused(archive, f"has {name!r}, which is not a path inside a folder")
    return path


def _write(member: Member, folder: Path, where: str, archive: Path) -> None:
    target = folder / where
    target.parent.mkdir(parents=True, exist_ok=True)
    there = 0
    with member.open() as content, target.open("xb") as file:
        while block := content.read(BLOCK):
            there += len(block)
            if there > member.size:
                raise _refused(archive, f"has more in {member.path} than it says")
            file.write(block)
    if there < member.size:
        raise _refused(archive, f"has less in {member.path} than it says")


def _refused(archive: Path, what: str) -> InputError:
    return InputError(f"{archive} {what}: it is not what was published; get it again")
