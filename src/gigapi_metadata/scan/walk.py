"""Which Parquet files lie below a folder, in an order that is the same every time.

Only names and sizes are looked at, no file is opened. What can't be listed is noted, not raised:
one unreadable folder must not hide the rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gigapi_metadata.errors import InvalidName
from gigapi_metadata.names import check_name

SUFFIX = ".parquet"
_MAX_DEPTH = 100  # of strays that are counted
_PASSED_OVER = (".", "_")
"""Names that begin so are hidden files, or some writer's temporary ones."""


class Found(NamedTuple):
    """A file: its path below the root, and what the folder says of it."""

    path: str
    size_bytes: int
    mtime_ns: int


class Fault(NamedTuple):
    """A path below the root and why it can't be used."""

    path: str
    reason: str


class TableFolder(NamedTuple):
    """A table's data folder."""

    database: str
    table: str
    folder: Path


class Lake(NamedTuple):
    """What a lake's folders are: its tables, what can't be one and why, and links passed over."""

    tables: list[TableFolder]
    faults: list[Fault]
    links: list[str]


class Tree:
    """The Parquet files below `root`.

    Symbolic links are passed over, as by the worker (`storage`), and noted in `links`. With
    `follow_links` they are followed, but every folder is visited once: a link that leads back ends
    there. A link to a file of the same tree is passed over, it would count the rows twice.
    """

    def __init__(self, root: str | os.PathLike[str], *, follow_links: bool = False) -> None:
        self.root = os.fspath(root)
        self.follow_links = follow_links
        self.faults: list[Fault] = []
        self.links: list[str] = []
        self._real_root = os.path.join(os.path.realpath(self.root), "")
        self._visited: set[tuple[int, int]] = set()
        self._to_follow: list[str] = []

    def groups(self) -> Iterator[tuple[str, list[Found]]]:
        """(first folder of the path, its files), a day's folder at a time: that bounds the memory.

        Files right below the root come first, under "". A folder comes again if links lead on.
        """
        self.faults.clear()
        self._visited.clear()
        self.links.clear()
        self._to_follow.clear()
        files, folders = self._list("")
        if files:
            yield "", files
        for folder in folders:
            yield from self._group(folder)
        # Links come last: where one leads to files that a folder holds as well, the folder counts.
        for link in self._to_follow:
            yield from self._group(link)

    def count(self) -> int:
        """How many files `groups` will give. As costly as listing all folders."""
        return sum(len(files) for _, files in self.groups())

    def is_gone(self, path: str) -> bool:
        """Whether `path` is certainly not there: not merely hidden by a folder we can't enter."""
        try:
            os.lstat(os.path.join(self.root, path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, ValueError):
            return False
        return False

    def _group(self, folder: str) -> Iterator[tuple[str, list[Found]]]:
        found: list[Found] = []
        waiting = [folder]
        while waiting:
            files, folders = self._list(waiting.pop())
            found += files
            waiting += reversed(folders)
        if found:
            yield folder.partition("/")[0], found

    def _list(self, folder: str) -> tuple[list[Found], list[str]]:
        """The files and the folders right below `folder`, sorted by name."""
        files: list[Found] = []
        folders: list[str] = []
        where = os.path.join(self.root, folder) if folder else self.root
        try:
            status = os.stat(where)
            identity = (status.st_dev, status.st_ino)
            if identity in self._visited:
                return files, folders
            self._visited.add(identity)
            with os.scandir(where) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as fault:
            self._note(folder, fault)
            return files, folders
        for entry in entries:
            if entry.name.startswith(_PASSED_OVER):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() and not self.follow_links:
                if entry.name.endswith(SUFFIX) or _is_folder(entry):
                    self.links.append(path)
            elif _is_folder(entry):
                (self._to_follow if entry.is_symlink() else folders).append(path)
            elif entry.name.endswith(SUFFIX):
                try:
                    status = entry.stat()
                except OSError as fault:
                    self._note(path, fault)
                    continue
                if not self._is_alias(entry):
                    files.append(Found(path, status.st_size, status.st_mtime_ns))
        return files, folders

    def _is_alias(self, entry: os.DirEntry[str]) -> bool:
        return entry.is_symlink() and os.path.realpath(entry.path).startswith(self._real_root)

    def _note(self, path: str, fault: OSError) -> None:
        self.faults.append(Fault(path, _reason(fault)))


def tables_below(root: str | os.PathLike[str], *, follow_links: bool = False) -> Lake:
    """The tables of a lake, `<root>/<database>/<table>/data`, sorted. As in Tree, links below the
    root are followed with `follow_links` only.

    Raises:
        OSError: `root` itself can't be listed.
    """
    lake = Lake([], [], [])
    for database in _subfolders(root):
        if not follow_links and _is_link(root, database):
            lake.links.append(database)
            continue
        try:
            below = _subfolders(os.path.join(root, database))
        except OSError as fault:
            lake.faults.append(Fault(database, _reason(fault)))
            continue
        for table in below:
            _add_table(lake, root, database, table, follow_links)
    return lake


def _add_table(
    lake: Lake, root: str | os.PathLike[str], database: str, table: str, follow_links: bool
) -> None:
    path = f"{database}/{table}"
    folder = Path(root, database, table, "data")
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            return
        for link in (path, f"{path}/data"):
            if not follow_links and _is_link(root, link):
                lake.links.append(link)
                return
        check_name("database", database)
        check_name("table", table)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, InvalidName) as fault:
        lake.faults.append(Fault(path, _reason(fault)))
    else:
        lake.tables.append(TableFolder(database, table, folder))


def strays_below(root: str | os.PathLike[str]) -> int:
    """How many Parquet files of a lake lie outside of `<root>/<database>/<table>/data`."""
    number = 0
    for folder, folders, files in os.walk(root):  # passes over links, and what can't be listed
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(_PASSED_OVER)
            and (depth, name) != (2, "data")
            and depth < _MAX_DEPTH
        ]
        number += sum(name.endswith(SUFFIX) and not name.startswith(_PASSED_OVER) for name in files)
    return number


def _reason(fault: Exception) -> str:
    return f"can't be read: {fault.strerror}" if isinstance(fault, OSError) else str(fault)


def _is_link(root: str | os.PathLike[str], path: str) -> bool:
    return os.path.islink(os.path.join(root, path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _subfolders(folder: str | os.PathLike[str]) -> list[str]:
    with os.scandir(folder) as listing:
        names = [entry.name for entry in listing if _is_folder(entry)]
    return sorted(name for name in names if not name.startswith("."))
