"""Archives that are not what they should be."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from search_spaces import InputError
from tune.fetching.unpack import unpack

LIMIT = 10_000


def tar(path: Path, *members: tarfile.TarInfo, **files: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in members:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def zipped(path: Path, *members: zipfile.ZipInfo, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for info in members:
            archive.writestr(info, b"x")
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def zip_member(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo()
    info.filename = name
    info.external_attr = (kind | 0o644) << 16
    return info


def unpacked(archive: Path) -> list[str]:
    return unpack(archive, archive.parent / "out", str, limit=LIMIT, advance=lambda passed: None)


@pytest.mark.parametrize("pack", [tar, zipped])
def test_files_that_have_a_place_are_written_there(tmp_path: Path, pack: Callable[..., Path]) -> None:
    archive = pack(tmp_path / "a", **{"a/1": b"one", "a/b/2": b"two", "c/3": b"three"})

    def place(path: PurePosixPath) -> str | None:
        return f"to/{path.name}" if path.parts[0] == "a" else None

    passed: list[int] = []
    assert unpack(archive, tmp_path / "out", place, limit=LIMIT, advance=passed.append) == ["to/1", "to/2"]
    assert (tmp_path / "out/to/2").read_bytes() == b"two"
    assert len(list((tmp_path / "out").rglob("*"))) == 3
    assert passed == [3, 6, 11]


@pytest.mark.parametrize("name", ["/abs", "../up", "a/../../up", "..", "a\\..\\b", "C:/windows"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    pack = {
        "tar": lambda: tar(tmp_path / "a", tar_member(name)),
        "zip": lambda: zipped(tmp_path / "a", zip_member(name)),
    }
    with pytest.raises(InputError, match="which is not a path inside a folder: it is not what was published"):
        unpacked(pack[kind]())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a"]


@pytest.mark.parametrize(
    "member",
    [
        tar_member("link", tarfile.SYMTYPE, "/etc/passwd"),
        tar_member("link", tarfile.SYMTYPE, "inside"),
        tar_member("link", tarfile.LNKTYPE, "1"),
        tar_member("device", tarfile.CHRTYPE),
        tar_member("device", tarfile.BLKTYPE),
        tar_member("pipe", tarfile.FIFOTYPE),
        zip_member("link", stat.S_IFLNK),
        zip_member("device", stat.S_IFCHR),
        zip_member("pipe", stat.S_IFIFO),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, member: tarfile.TarInfo | zipfile.ZipInfo) -> None:
    pack = tar if isinstance(member, tarfile.TarInfo) else zipped
    with pytest.raises(InputError, match="which is not a plain file"):
        unpacked(pack(tmp_path / "a", member))


@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_bomb_is_refused_also_where_its_files_have_no_place(tmp_path: Path, pack: Callable[..., Path]) -> None:
    archive = pack(tmp_path / "a", **{"1": bytes(6000), "2": bytes(6000)})
    assert archive.stat().st_size < 1000
    with pytest.raises(InputError, match="unpacks to more than 0 MiB"):
        unpack(archive, tmp_path / "out", lambda path: None, limit=LIMIT, advance=lambda passed: None)
    with pytest.raises(InputError, match="unpacks to more than 0 MiB"):
        unpacked(archive)


def test_a_zip_that_lies_about_the_size_of_a_file_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a", bomb=bytes(50_000))
    content = archive.read_bytes()
    size = (50_000).to_bytes(4, "little")
    assert content.count(size) == 2
    archive.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="damaged"):
        unpacked(archive)
    assert (tmp_path / "out/bomb").stat().st_size <= 10


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "tar":
        tar(tmp_path / "a", tar_member("x"), tar_member("./x"))
    else:
        zipped(tmp_path / "a", zip_member("x"), zip_member("./x"))
    with pytest.raises(InputError, match="has x twice"):
        unpacked(tmp_path / "a")


def _short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [_short, _garbled])
@pytest.mark.parametrize("pack", [tar, zipped])
def test_a_damaged_archive_is_refused(tmp_path: Path, pack: Callable[..., Path], spoil: Callable[[Path], None]) -> None:
    noise = bytes(range(256)) * 8
    archive = pack(tmp_path / "a", **{"1": noise, "2": noise[::-1]})
    spoil(archive)
    with pytest.raises(InputError) as error:
        unpacked(archive)
    assert "damaged" in str(error.value) or "neither a tar nor a zip" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        unpacked(tmp_path / "a")
    (tmp_path / "a").write_bytes(gzip.compress(b"neither"))
    with pytest.raises(InputError, match="is neither a tar nor a zip"):
        unpacked(tmp_path / "a")


def test_a_locked_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "a", **{"1": b"one"}).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="password required"):
        unpacked(tmp_path / "a")
