"""An image folder: train/ val/ test/ with one folder per class in each, or the class folders alone."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from search_spaces.space.errors import InputError
from trainables.data.contents import Contents, changed_ns
from trainables.data.decode import IMAGE_SUFFIXES, BrokenImageError, read_header, read_image
from trainables.data.spec import SPLITS, UNASSIGNED

_SPLIT_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders, in lower case, that mark a split."""

_OTHER_PICTURES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".ppm", ".dng", ".cr2", ".cr3", ".nef", ".arw"}
)
"""Suffixes, in lower case, of pictures that are not read although a person may expect it."""

_LAYOUT = "it must hold train/ (and val/, test/) with a folder a class in each, or class folders alone"


@dataclass(frozen=True, slots=True)
class _File:
    """An image file; a size of -1 marks a broken symbolic link."""

    path: str
    class_name: str
    split: int
    size: int
    modified_ns: int


class ImageFolder:
    """A folder of images, listed when it is opened.

    Class names are those of the folders, sorted; folders below a class folder belong to the class. Hidden files and
    folders, files without an image's suffix, and symbolic links to folders are left out (links to files are followed).

    Raises:
        InputError: if the folder has neither of the two layouts, or has fewer than two classes.
    """

    mirrors = True

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self.ignored = 0
        self._root = root
        self._linked: list[str] = []
        self._unread: list[str] = []
        self._others: Counter[str] = Counter()
        try:
            class_folders = self._find_classes()
            self._files = sorted(
                (
                    _File(path, name, code, size, modified_ns)
                    for (code, name), folder in class_folders.items()
                    for path, size, modified_ns in self._walk(folder)
                ),
                key=lambda file: file.path,
            )
        except OSError as error:
            raise InputError(f"cannot list {error.filename}: {error.strerror}") from error
        trained = {name for code, name in class_folders if code in (UNASSIGNED, SPLITS.index("train"))}
        self._classes = tuple(sorted(trained))
        self._check()

    @cached_property
    def identity(self) -> object:
        """The folder, its classes (one may be empty), and each file's relative path, size and time of change.

        The folder is included because names, sizes and times of two data sets may agree (many archives give every file
        the same time). The price is that a moved folder is decoded once more.
        """
        files = [(file.path, file.size, file.modified_ns) for file in self._files]
        return [self.name, self._classes, files]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that name the folders and count the pictures that a person may have expected to be read."""
        notes = []
        if self._linked:
            notes.append(f"symbolic links to folders are not followed: {_some(sorted(self._linked))}")
        if self._unread:
            notes.append(f"folders beside train/ are not read: {_some(self._unread)}")
        if self._others:
            others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self._others.items()))
            notes.append(f"pictures of some formats are not read: {others}; convert them to JPEG or PNG")
        return tuple(notes)

    def contents(self) -> Contents:
        """List the images, sorted by path."""
        label_of = {name: label for label, name in enumerate(self._classes)}
        return Contents(
            classes=self._classes,
            names=[file.path for file in self._files],
            labels=np.array([label_of[file.class_name] for file in self._files], np.int64),
            official=np.array([file.split for file in self._files], np.int8),
            header=lambda i: read_header(self._root / self._files[i].path),
            image=lambda i: self._image(self._files[i]),
        )

    def _image(self, file: _File) -> Image.Image:
        if file.size < 0:
            raise BrokenImageError("a symbolic link to a file that is not there")
        return read_image(self._root / file.path)

    def _find_classes(self) -> dict[tuple[int, str], str]:
        """Map (code of the split, name of the class) to the class's folder relative to the root."""
        children = self._folders("")
        split_folders: dict[str, str] = {}
        for child in children:
            split = _SPLIT_OF.get(child.lower())
            if split is None:
                continue
            if split in split_folders:
                raise InputError(f"{self.name} has both {split_folders[split]}/ and {child}/ for {split}: keep one")
            split_folders[split] = child
        if not split_folders:
            return {(UNASSIGNED, child): child for child in children}
        if "train" not in split_folders:
            found = ", ".join(f"{folder}/" for folder in split_folders.values())
            raise InputError(f"{self.name} has {found} but no train/: {_LAYOUT}")
        self._unread = [child for child in children if child not in split_folders.values()]
        classes: dict[tuple[int, str], str] = {}
        for split, folder in split_folders.items():
            names = self._folders(folder)
            if not names:
                raise InputError(
                    f"{self.name}/{folder} is taken for the {split} split but has no class folders: {_LAYOUT}"
                )
            classes |= {(SPLITS.index(split), name): f"{folder}/{name}" for name in names}
        return classes

    def _folders(self, below: str) -> list[str]:
        """List the visible folders directly in one, sorted; files beside them belong to no class."""
        folders = []
        for entry, is_folder in self._visible(below):
            if is_folder:
                folders.append(entry.name)
            else:
                self.ignored += 1
        return sorted(folders)

    def _walk(self, below: str) -> Iterator[tuple[str, int, int]]:
        """Yield (path, size, modified_ns) of each image file in a folder and its subfolders."""
        for entry, is_folder in self._visible(below):
            path = f"{below}/{entry.name}"
            if is_folder:
                yield from self._walk(path)
            elif (suffix := Path(entry.name).suffix.lower()) not in IMAGE_SUFFIXES:
                self.ignored += 1
                self._others.update({suffix} & _OTHER_PICTURES)
            elif entry.is_file():
                status = entry.stat()
                yield path, status.st_size, changed_ns(status)
            elif entry.is_symlink():
                yield path, -1, 0
            else:  # a pipe, a socket or a device, where opening could hang
                self.ignored += 1

    def _visible(self, below: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
        """Yield (entry, is a folder) for entries that are not hidden, and count those left out."""
        with os.scandir(self._root / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    self.ignored += not entry.is_dir()
                elif entry.is_symlink() and entry.is_dir():
                    self._linked.append(f"{below}/{entry.name}".lstrip("/"))
                else:
                    yield entry, entry.is_dir()

    def _check(self) -> None:
        if not self._files:
            if any(self._root.rglob("*.parquet")):
                raise InputError(f"no images in {self.name}, but Parquet files: write --data parquet:{self.name}")
            if any(path.suffix.lower() in IMAGE_SUFFIXES for path in self._root.iterdir()):
                raise InputError(f"no class folders in {self.name}, but images: {_LAYOUT}")
            raise InputError(f"no images in {self.name}: {_LAYOUT}; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
        if len(self._classes) < 2:
            raise InputError(
                f"{self.name} has one class only, {self._classes[0]!r}, and telling classes apart takes two: {_LAYOUT}"
            )
        unknown = sorted({file.class_name for file in self._files} - set(self._classes))
        if unknown:
            example = next(file.path for file in self._files if file.class_name == unknown[0])
            raise InputError(
                f"class {unknown[0]!r} has images outside train/ ({example}) but none in it; "
                f"the classes of train/ are: {_some(self._classes)}"
            )


def _some(names: Sequence[str], most: int = 10) -> str:
    """Join the first names of a list that may be long."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
