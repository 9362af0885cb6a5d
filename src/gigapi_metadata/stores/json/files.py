"""The steps that touch the disk. Each is small enough to be atomic or repeatable, and durable when
it returns: what is written is flushed, and so is the folder whose listing has changed.

Tests break off between any two of them by replacing one (`tests/json/test_crashes.py`).
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import NamedTuple

from gigapi_metadata.errors import StoreError

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

SETTLED_NS = 100_000_000
"""A file system's clock ticks every few milliseconds, and two versions of a file may carry the same
time. What is younger than this when it is read may change unnoticed, and is read again."""


class Version(NamedTuple):
    """What tells one version of a file from another without reading it."""

    mtime_ns: int
    size: int
    inode: int
    device: int


def version_of(path: str) -> Version | None:
    """The version of the file there, None when there is none.

    Raises:
        StoreError: something that is no file is there.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is no ordinary file; it is not read")
    return _version(found)


def read(path: str) -> tuple[Version, bytes, bool] | None:
    """A file's version, content and whether the version can be relied on; None without a file."""
    try:
        file = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(file, "rb", buffering=0) as stream:
        found = os.fstat(file)
        content = stream.readall()
    return _version(found), content, time.time_ns() - found.st_mtime_ns > SETTLED_NS


def write_flushed(path: str, content: bytes) -> Version:
    """Make the file `path`, which must not be there yet."""
    file = os.open(path, _WRITE, 0o666)
    with os.fdopen(file, "wb", buffering=0) as stream:
        rest = memoryview(content)
        while rest:
            rest = rest[stream.write(rest) :]
        # To the nanosecond, so that no two versions of ours share a time.
        now_ns = time.time_ns()
        os.utime(file, ns=(now_ns, now_ns))
        os.fsync(file)
        return _version(os.fstat(file))


def rename(source: str, target: str) -> None:
    """Put `source` in the place of `target`. Durable after `flush_folder`."""
    os.replace(source, target)


def flush_folder(path: str) -> None:
    """Make what was renamed into a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: str) -> None:
    """Make a folder and those above it, durably."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above != path:
        make_folder(above)
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    flush_folder(above)


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _version(found: os.stat_result) -> Version:
    return Version(found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
