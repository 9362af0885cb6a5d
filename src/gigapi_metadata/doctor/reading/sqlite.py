"""Looks at a SQLite catalog without changing it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from typing import Any
from urllib.parse import quote

import msgspec

from gigapi_metadata.doctor.reading.elsewhere import try_elsewhere
from gigapi_metadata.doctor.sqlite import SQLiteFacts
from gigapi_metadata.stores import surroundings
from gigapi_metadata.stores.sqlite.connection import APPLICATION_ID

INTEGRITY_S = 120.0
"""How long to compare the file with itself. A million files take some 5."""

_STEPS = 100_000
"""Of SQLite's machine, between two looks at the clock."""

_RESERVED_BYTE = 0x40000001
"""What a writer of a file without a WAL locks; beside a WAL nobody does."""

# In a process of its own, which reads the file and ends: a process that closes a file loses all its
# locks on it, those of its own SQLite connections as well.
_LOOK = f"""
import fcntl, os, sys

def lock():
    file = os.open(sys.argv[1], os.O_RDWR)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, {_RESERVED_BYTE})
    except BlockingIOError:
        return False
    return True

with open(sys.argv[1], "rb") as file:
    file.seek(18)
    print("wal" if file.read(2) == bytes((2, 2)) else "rollback", flush=True)
try:
    if not lock():
        print("a writer is at work")
    elif child := os.fork():
        print("let in" if os.waitpid(child, 0)[1] else "kept out")
    else:
        os._exit(lock())
except OSError as fault:
    print(fault)
"""


def read(path: str) -> SQLiteFacts:
    """All facts, and not a byte of any file is changed. Reads the whole file, for INTEGRITY_S
    seconds at most; without a WAL, writers wait for some 50 ms."""
    path = os.path.abspath(path)
    files = [path, f"{path}-wal", f"{path}-shm"]
    facts = SQLiteFacts(
        path,
        os.path.exists(path),
        surroundings.read(path),
        [surroundings.access(each) for each in (os.path.dirname(path), *files)],
        wal_bytes=_size(f"{path}-wal"),
        leftovers=[name for name in (f"{path}-journal",) if os.path.exists(name)],
    )
    if not facts.exists:
        return facts
    try:
        mode, _, tried = try_elsewhere(_LOOK, path).partition("\n")
    except (OSError, subprocess.SubprocessError) as fault:
        return msgspec.structs.replace(facts, lock_fault=str(fault))
    facts = msgspec.structs.replace(
        facts,
        lock={"kept out": True, "let in": False}.get(tried),
        lock_fault={"kept out": "", "let in": "a second writer was let in"}.get(tried, tried),
    )
    try:
        return msgspec.structs.replace(facts, **_content(path, wal=mode == "wal"))
    except sqlite3.Error as fault:
        return msgspec.structs.replace(facts, fault=str(fault))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _content(path: str, *, wal: bool) -> dict[str, Any]:
    """What only SQLite can tell. It never writes: whoever is the last to leave a file with a WAL
    would take that over and delete it, and whoever is the first after a crash would make its index
    anew."""
    found: dict[str, Any] | None
    if not wal:
        found = _unless(sqlite3.SQLITE_READONLY, path, "mode=ro")
        if found is None:
            found = {"unread": "its -journal holds a change that was cut off"}
    elif os.path.exists(f"{path}-shm"):
        found = _unless(sqlite3.SQLITE_READONLY, path, "mode=ro&readonly_shm=1")
        if found is None:  # others have it open, and keep what there is
            found = _read(path, "mode=ro")
    elif _size(f"{path}-wal"):
        found = {
            "unread": "its -wal is there without the -shm that belongs to it, as after copying"
        }
    else:
        found = _read(path, "mode=ro&immutable=1")
        if os.path.exists(f"{path}-shm"):  # somebody has begun to write meanwhile
            return _content(path, wal=True)
    return {"journal_mode": "wal" if wal else "rollback"} | found


def _unless(code: int, path: str, how: str) -> dict[str, Any] | None:
    """What `_read` finds; None if it ends with the error `code`."""
    try:
        return _read(path, how)
    except sqlite3.OperationalError as fault:
        if fault.sqlite_errorcode & 0xFF != code:
            raise
        return None


def _read(path: str, how: str) -> dict[str, Any]:
    connection = sqlite3.connect(
        f"file:{quote(path)}?{how}", uri=True, timeout=1, isolation_level=None
    )
    with closing(connection):
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID:
            return {"is_catalog": False}
        connection.execute("PRAGMA cache_size = -64000")
        deadline = time.monotonic() + INTEGRITY_S
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        rows: list[str] = []
        try:
            for (text,) in connection.execute("PRAGMA integrity_check(10)"):
                rows.append(" ".join(str(text).split()))
        except sqlite3.DatabaseError as fault:
            code = fault.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_CORRUPT:
                rows.append(str(fault))
            elif code != sqlite3.SQLITE_INTERRUPT:
                raise
        # One that comes to its end says "ok" at least.
        return {"integrity": rows, "unfinished_s": None if rows else INTEGRITY_S}
