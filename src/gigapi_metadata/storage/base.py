"""What a storage answers: the narrow waist between the worker and where files lie.

A storage is one table's files in one layer. Paths are the catalog's: relative, `/`-separated,
checked (`names.check_path`) before anything is done with them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

TEMP_PREFIX = ".gigapi-"
"""How the names of unfinished files begin. Whoever lists data files leaves these out."""


TEMP_SUFFIX = ".tmp"
"""And how they end."""


class FileInfo(NamedTuple):
    """A file as it stands in its storage.

    `etag` tells contents apart where the storage can (S3), else it is "". `modified_s` is the Unix
    time of its last change.
    """

    path: str
    size: int
    etag: str
    modified_s: float


class Storage(Protocol):
    """One table's files in one layer. May be used by many threads at once.

    Any call may raise StorageError: FileMissing when the file is not there, InvalidName when the
    path is not a legal one. No message shows a credential.
    """

    def head(self, path: str) -> FileInfo:
        """Size and age of a file."""
        ...

    def get(self, path: str, target: Path) -> FileInfo:
        """Copy a file into the local file `target`, which is replaced. Whole, or an error."""
        ...

    def read(self, path: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`, all of them or an error."""
        ...

    def put(self, path: str, source: Path) -> FileInfo:
        """Store the local file `source` as `path`, replacing what is there.

        Atomic: nobody ever sees a part of it. Durable when the call returns.
        """
        ...

    def put_if_absent(self, path: str, source: Path) -> FileInfo:
        """As `put`, but FileExists when there is a file already. Of several at once, one wins."""
        ...

    def copy(self, path: str, target: str) -> FileInfo:
        """Copy a file within the storage, replacing `target`. Atomic; no bytes pass through us."""
        ...

    def delete(self, path: str) -> bool:
        """Delete a file. False when there was none, which is no error."""
        ...

    def folders(self) -> list[str]:
        """The first folders of paths, sorted. Empty when there is nothing at all."""
        ...

    def walk(self, folder: str) -> list[FileInfo]:
        """As `list`, with all that lies deeper; in bulk, not a request a file. Folders below whose
        name begins with a `.` are left out, but `folder` itself may."""
        ...

    def list(self, folder: str, prefixes: tuple[str, ...] = ("",)) -> list[FileInfo]:
        """The files right in `folder` whose names begin with one of `prefixes`, sorted by path,
        unfinished ones (TEMP_PREFIX) included. Empty when there is no such folder."""
        ...


class InPlace(Protocol):
    """The ability of a storage whose files are local files: no copies need to be made."""

    def local(self, path: str) -> Path:
        """Where to read a file. FileMissing when it is not there."""
        ...

    def draft(self, path: str) -> AbstractContextManager[Path]:
        """A new name for an unfinished file, in the folder that `path` will lie in. The folder is
        made; the file is not, and is removed after the block, if it is still there."""
        ...

    def place(self, draft: Path, path: str) -> FileInfo:
        """Turn a finished draft into `path`, replacing what is there. Atomic and durable."""
        ...
