"""A lock between processes and threads that a crash releases: it is held on an open file."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from threading import get_ident

from gigapi_metadata.errors import Unavailable
from gigapi_metadata.stores.json.files import make_folder

LOCK_TIMEOUT_S = 60.0
"""How long to wait for others. Changes take milliseconds; this is for crowds."""


@contextmanager
def exclusive(path: str) -> Iterator[None]:
    """Nobody else holds the lock while this lasts. Its file is made when it is not there.

    Raises:
        Unavailable: others held it for too long.
    """
    make_folder(os.path.dirname(path))
    held = _Held(path)
    try:
        held.take(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
        yield
    finally:
        held.let_go()


@contextmanager
def shared(path: str) -> Iterator[None]:
    """Nobody holds the lock exclusively while this lasts. Nothing is made for it: a lock that is
    not there has never been held."""
    held = _Held(path)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            held.take(os.O_RDONLY, fcntl.LOCK_SH)
        yield
    finally:
        held.let_go()


class _Held:
    """A lock that may be held, on a file of its own.

    A signal may raise (Ctrl-C) between any two steps, also in `let_go`. What is then left is closed
    with the last reference to it, or when its thread wants the same lock again, as no thread does
    that still uses it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._owner = (path, get_ident())
        self._file: FileIO | None = None

    def take(self, flags: int, kind: int) -> None:
        """Open the file and wait for the lock. To be let go of, whatever this raises."""
        if (left := _held_by(self._owner)) is not None:
            left.let_go()
        _all_held[self._owner] = weakref.ref(self)
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            self._file = FileIO(self._path, opener=partial(_open, flags))
            self._wait(self._file, kind, deadline)
            if _is_still(self._file, self._path):
                return
            self._close()  # someone has deleted the folder since; the lock is another one by now

    def _wait(self, file: FileIO, kind: int, deadline: float) -> None:
        wait_s = 0.0005
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                    raise
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self._path} has been held by another process for over {LOCK_TIMEOUT_S:.0f} s"
                )
            time.sleep(wait_s * (0.5 + random.random()))
            wait_s = min(wait_s * 1.5, 0.01)

    def let_go(self) -> None:
        """Others may have it. May be called again."""
        self._close()
        if _held_by(self._owner) is self:
            del _all_held[self._owner]

    def _close(self) -> None:
        if self._file is None:
            return
        try:
            # A child that was forked meanwhile has the same open file: closing ours is not enough.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._file.close()
            self._file = None

    def forget(self) -> None:
        """In a forked child: give up the parent's lock, which would outlive the parent here."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def _open(mode: int, path: str, _: int) -> int:
    return os.open(path, mode | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _is_still(file: FileIO, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


_all_held: dict[tuple[str, int], weakref.ref[_Held]] = {}
"""By path and thread."""


def _held_by(owner: tuple[str, int]) -> _Held | None:
    found = _all_held.get(owner)
    return None if found is None else found()


def _forget_held() -> None:
    for found in list(_all_held.values()):
        if (held := found()) is not None:
            held.forget()
    _all_held.clear()


os.register_at_fork(after_in_child=_forget_held)
