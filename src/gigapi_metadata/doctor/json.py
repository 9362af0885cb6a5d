"""What a catalog of folders and its surroundings say. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import msgspec

from gigapi_metadata.doctor import disk
from gigapi_metadata.doctor.finding import Finding, error, note, ok
from gigapi_metadata.stores.surroundings import FOLDERS_FAR_AWAY, Access, DiskFacts

_SHOWN = 20


class JSONFacts(msgspec.Struct, frozen=True):
    """What was read. disks: one for each folder of the catalog.

    journals: of tables with a change that was cut off. damaged: what can't be read, and why.
    files: how many `metadata.json` and plan files were read. lock: as in SQLiteFacts.
    """

    disks: Sequence[DiskFacts]
    access: Sequence[Access] = ()
    tables: int = 0
    files: int = 0
    journals: Sequence[str] = ()
    damaged: Sequence[str] = ()
    lock: bool | None = None
    lock_fault: str = ""


def findings(facts: JSONFacts) -> Iterator[Finding]:
    """All that can be said."""
    for each in facts.disks:
        if not each.fault:
            yield from disk.kind(each, locks=FOLDERS_FAR_AWAY)
        yield from disk.space(each, "space")
    yield from disk.permissions(facts.access)
    yield from disk.locks(facts.lock, "file locks", facts.lock_fault)
    for table in facts.journals:
        yield note(
            "journal",
            f"{table}: a change was cut off; readers see it whole, the next write to the table "
            "completes it",
        )
    root = shlex.quote(facts.disks[0].path) if len(facts.disks) == 1 else "ROOT"
    for text in facts.damaged[:_SHOWN]:
        yield error(
            "integrity",
            text,
            f"move that file away, then: gigapi-metadata scan {root} --reread",
        )
    if len(facts.damaged) > _SHOWN:
        yield error("integrity", f"and {len(facts.damaged) - _SHOWN} more that can't be read")
    if not facts.damaged:
        yield ok("integrity", f"{facts.files} files of {facts.tables} tables can be read")
