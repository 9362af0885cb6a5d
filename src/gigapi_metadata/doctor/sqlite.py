"""What a SQLite catalog's file and its surroundings say. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import msgspec

from gigapi_metadata.doctor import disk
from gigapi_metadata.doctor.finding import Finding, error, note, ok, seconds, size, warning
from gigapi_metadata.stores.surroundings import SQLITE_FAR_AWAY, Access, DiskFacts

LARGE_WAL_BYTES = 64 << 20

_OF_INDEXES = re.compile("missing from index|wrong # of entries in index")


class SQLiteFacts(msgspec.Struct, frozen=True):
    """What was read. fault: why it could not be opened. integrity: what integrity_check says.

    lock: whether a second writer is kept out; None with `lock_fault` when that was not tried.
    leftovers: files beside the catalog that a crash or a copy has left. unread: why it can't be
    read without changing something. unfinished_s: seconds after which the integrity check was
    ended without having found anything; None when it came to its end.
    """

    path: str
    exists: bool
    disk: DiskFacts
    access: Sequence[Access] = ()
    fault: str = ""
    is_catalog: bool = True
    journal_mode: str = ""
    integrity: Sequence[str] = ()
    lock: bool | None = None
    lock_fault: str = ""
    unread: str = ""
    unfinished_s: float | None = None
    wal_bytes: int = 0
    leftovers: Sequence[str] = ()


def findings(facts: SQLiteFacts) -> Iterator[Finding]:
    """All that can be said."""
    yield from disk.kind(facts.disk, locks=SQLITE_FAR_AWAY)
    yield from disk.space(facts.disk, "space")
    yield from disk.permissions(facts.access)
    if not facts.exists:
        yield note("file", f"{facts.path} is not there yet; the first write makes it")
        return
    if facts.fault:
        yield error("file", f"{facts.path} can't be used: {facts.fault}")
        return
    if not facts.is_catalog:
        yield error("file", f"{facts.path} is a SQLite database, but not a catalog")
        return
    yield from _journal(facts)
    yield from disk.locks(facts.lock, "SQLite's locks", facts.lock_fault)
    yield from _integrity(facts)


def _integrity(facts: SQLiteFacts) -> Iterator[Finding]:
    file = shlex.quote(facts.path)
    if facts.unread:
        yield warning(
            "integrity",
            f"not checked, for that would change files: {facts.unread}",
            f"sqlite3 {file} 'PRAGMA integrity_check'",
        )
    elif facts.unfinished_s is not None:
        yield note(
            "integrity",
            f"nothing found within {seconds(facts.unfinished_s)}, in which PRAGMA integrity_check "
            "did not come to its end",
            f"sqlite3 -readonly {file} 'PRAGMA integrity_check'",
        )
    elif list(facts.integrity) == ["ok"]:
        yield ok("integrity", "PRAGMA integrity_check finds nothing")
    else:
        only_indexes = all(_OF_INDEXES.search(text) for text in facts.integrity)
        yield error(
            "integrity",
            f"integrity_check: {'; '.join(facts.integrity[:3])}",
            f"sqlite3 {file} REINDEX"
            if only_indexes
            else f"sqlite3 {file} .recover | sqlite3 recovered.db, and put that in its place",
        )


def _journal(facts: SQLiteFacts) -> Iterator[Finding]:
    file = shlex.quote(facts.path)
    if facts.journal_mode != "wal":
        yield warning(
            "journal",
            f"journal_mode is {facts.journal_mode}, not wal: readers and writers wait for each "
            "other",
            f"sqlite3 {file} 'PRAGMA journal_mode = WAL'",
        )
    elif facts.wal_bytes > LARGE_WAL_BYTES:
        yield warning(
            "journal",
            f"the WAL has {size(facts.wal_bytes)}: a reader that does not end keeps it from being "
            "taken over",
            f"sqlite3 {file} 'PRAGMA wal_checkpoint(TRUNCATE)'",
        )
    else:
        yield ok("journal", f"WAL, {size(facts.wal_bytes)}")
    for path in map(shlex.quote, facts.leftovers):
        yield warning(
            "journal",
            f"{path} was left behind by a crash or a copy",
            f"sqlite3 {file} 'PRAGMA integrity_check', which takes back a change that was cut off; "
            f"when that is ok and it is still there, move {path} away",
        )
