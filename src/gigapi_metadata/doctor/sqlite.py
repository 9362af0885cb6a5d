"""What a SQLite catalog's file and its surroundings say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gigapi_metadata.doctor import disk
from gigapi_metadata.doctor.disk import Access, DiskFacts
from gigapi_metadata.doctor.finding import Finding, error, note, ok, size, warning

LARGE_WAL_BYTES = 64 << 20


class SQLiteFacts(msgspec.Struct, frozen=True):
    """What was read. fault: why it could not be opened. integrity: what quick_check says.

    lock: whether a second writer is kept out; None with `lock_fault` when that was not tried.
    leftovers: files beside the catalog that a crash or a copy has left.
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
    wal_bytes: int = 0
    leftovers: Sequence[str] = ()


def findings(facts: SQLiteFacts) -> Iterator[Finding]:
    """All that can be said."""
    yield from disk.kind(facts.disk, locks="SQLite's WAL does not work over a network")
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
    if list(facts.integrity) == ["ok"]:
        yield ok("integrity", "PRAGMA quick_check finds nothing")
    else:
        yield error(
            "integrity",
            f"quick_check: {'; '.join(facts.integrity[:3])}",
            f"sqlite3 {facts.path} .recover | sqlite3 recovered.db",
        )


def _journal(facts: SQLiteFacts) -> Iterator[Finding]:
    if facts.journal_mode != "wal":
        yield warning(
            "journal",
            f"journal_mode is {facts.journal_mode}, not wal: readers and writers wait for each "
            "other",
            f"sqlite3 {facts.path} 'PRAGMA journal_mode = WAL'",
        )
    elif facts.wal_bytes > LARGE_WAL_BYTES:
        yield warning(
            "journal",
            f"the WAL has {size(facts.wal_bytes)}: a reader that does not end keeps it from being "
            "taken over",
            f"sqlite3 {facts.path} 'PRAGMA wal_checkpoint(TRUNCATE)'",
        )
    else:
        yield ok("journal", f"WAL, {size(facts.wal_bytes)}")
    for path in facts.leftovers:
        yield warning(
            "journal",
            f"{path} was left behind by a crash or a copy",
            f"sqlite3 {facts.path} 'PRAGMA quick_check'; when that is ok, move {path} away",
        )
