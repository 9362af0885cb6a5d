"""Looks at a SQLite catalog without changing it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from typing import Any
from urllib.parse import quote

import msgspec

from gigapi_metadata.doctor.reading import disk
from gigapi_metadata.doctor.sqlite import SQLiteFacts
from gigapi_metadata.stores.sqlite.connection import APPLICATION_ID

_LOCK_TRY = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
    print("free")
except sqlite3.OperationalError as fault:
    print("locked" if fault.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY else fault)
"""


def read(path: str) -> SQLiteFacts:
    """All facts. Holds the write lock for some 50 ms; reads the whole file for quick_check."""
    path = os.path.abspath(path)
    files = [path, f"{path}-wal", f"{path}-shm"]
    facts = SQLiteFacts(
        path,
        os.path.exists(path),
        disk.read(path),
        [disk.access(each) for each in (os.path.dirname(path), *files)],
        wal_bytes=_size(f"{path}-wal"),
        leftovers=[name for name in (f"{path}-journal",) if os.path.exists(name)],
    )
    if not facts.exists:
        return facts
    try:
        with closing(_open(path)) as connection:
            return msgspec.structs.replace(facts, **_content(connection, path))
    except sqlite3.Error as fault:
        return msgspec.structs.replace(facts, fault=str(fault))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _open(path: str) -> sqlite3.Connection:
    """Neither made nor turned into a catalog."""
    mode = "rw" if os.access(path, os.W_OK) else "ro"
    return sqlite3.connect(
        f"file:{quote(path)}?mode={mode}", uri=True, timeout=1, isolation_level=None
    )


def _content(connection: sqlite3.Connection, path: str) -> dict[str, Any]:
    def first(pragma: str) -> Any:
        return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

    if first("application_id") != APPLICATION_ID:
        return {"is_catalog": False}
    lock, why = _lock(connection, path)
    return {
        "journal_mode": str(first("journal_mode")),
        "integrity": [str(row[0]) for row in connection.execute("PRAGMA quick_check(10)")],
        "lock": lock,
        "lock_fault": why,
    }


def _lock(connection: sqlite3.Connection, path: str) -> tuple[bool | None, str]:
    """Whether another process is kept out while we hold the lock."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as fault:
        return None, str(fault)
    try:
        said = disk.try_elsewhere(_LOCK_TRY, path)
    except (OSError, subprocess.SubprocessError) as fault:
        return None, str(fault)
    finally:
        connection.execute("ROLLBACK")
    if said == "locked":
        return True, ""
    return (False, "a second writer was let in") if said == "free" else (None, said)
