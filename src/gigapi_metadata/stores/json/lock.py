"""A lock between processes and threads that a crash releases: it is held on an open file."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
    file = _open_locked(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _let_go(file)


@contextmanager
def shared(path: str) -> Iterator[None]:
    """Nobody holds the lock exclusively while this lasts. Nothing is made for it: a lock that is
    not there has never been held."""
    try:
        file = _open_locked(path, os.O_RDONLY, fcntl.LOCK_SH)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    try:
        yield
    finally:
        _let_go(file)


def _open_locked(path: str, flags: int, kind: int) -> int:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    wait_s = 0.0005
    while True:
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        _held.add(file)
        try:
            while True:
                try:
                    fcntl.flock(file, kind | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                        raise
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{path} has been held by another process for over {LOCK_TIMEOUT_S:.0f} s"
                    )
                time.sleep(wait_s * (0.5 + random.random()))
                wait_s = min(wait_s * 1.5, 0.01)
            if _is_still(file, path):
                return file
        except BaseException:
            _let_go(file)
            raise
        _let_go(file)  # someone has deleted the folder since; the lock is another one by now


def _is_still(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _let_go(file: int) -> None:
    if file not in _held:
        return  # closed after a fork
    _held.discard(file)
    try:
        # A child that was forked meanwhile has the same open file: closing ours is not enough.
        fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        os.close(file)


_held: set[int] = set()


def _forget_held() -> None:
    """In a forked child: give up the parent's locks, which would outlive the parent here."""
    for file in _held:
        with suppress(OSError):
            os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_forget_held)
