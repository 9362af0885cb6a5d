"""Reads every file of a catalog of folders, without changing any."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator

from gigapi_metadata.doctor.json import JSONFacts
from gigapi_metadata.doctor.reading.elsewhere import try_elsewhere
from gigapi_metadata.errors import MetadataError
from gigapi_metadata.names import check_name
from gigapi_metadata.stores import surroundings
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.json import journal
from gigapi_metadata.stores.json.connection import JSONConnection
from gigapi_metadata.stores.json.places import TablePlaces
from gigapi_metadata.stores.json.session import FileCache, Session

_LOCK_TRY = """
import fcntl, sys
try:
    with open(sys.argv[1]) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("free")
except BlockingIOError:
    print("locked")
"""


def read(connection: JSONConnection) -> JSONFacts:
    """All facts. Takes as long as reading every `metadata.json` does."""
    homes = sorted(connection.places.homes)
    damaged: list[str] = []
    journals: list[str] = []
    files = tables = 0
    lock_file = ""
    for table in _tables(connection, damaged):
        places = connection.places.table(table)
        tables += 1
        try:
            state = journal.read(places)
            moved = state.moved(places)
        except (MetadataError, OSError) as fault:
            damaged.append(str(fault))
            continue
        if state.pending:
            journals.append(f"{table.database}.{table.table}")
        if os.path.exists(places.lock):
            lock_file = lock_file or places.lock
        files += _read_table(places, moved, damaged)
    lock, why = _lock(lock_file)
    return JSONFacts(
        [surroundings.read(home) for home in homes],
        [surroundings.access(home) for home in homes],
        tables,
        files,
        journals,
        damaged,
        lock,
        why,
    )


def _tables(connection: JSONConnection, damaged: list[str]) -> Iterator[TableRef]:
    try:
        for database in connection.places.databases():
            for table in connection.places.tables(check_name("database", database)):
                yield TableRef(database, check_name("table", table))
    except (MetadataError, OSError) as fault:
        damaged.append(str(fault))


def _read_table(places: TablePlaces, moved: dict[str, str], damaged: list[str]) -> int:
    """How many files were read; what can't be is added to `damaged`."""
    session = Session(places, FileCache(), moved)
    count = 0
    for place in places.places:
        try:
            for dir in session.dirs(place):
                try:
                    if session.partition(place, dir).files:
                        count += 1
                    session.plans(place, dir)
                except (MetadataError, OSError) as fault:
                    damaged.append(str(fault))
        except (MetadataError, OSError) as fault:
            damaged.append(str(fault))
    return count


def _lock(path: str) -> tuple[bool | None, str]:
    """Whether another process is kept out of the lock file `path` while we hold it."""
    if not path:
        return None, "no table has been written to yet"
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as fault:
        return None, str(fault)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        said = try_elsewhere(_LOCK_TRY, path)
    except BlockingIOError:
        return None, "a writer is at work"
    except (OSError, subprocess.SubprocessError) as fault:
        return None, str(fault)
    finally:
        os.close(file)
    return (True, "") if said == "locked" else (False, "a second writer was let in")
