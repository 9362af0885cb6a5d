"""What each layer's storage says. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import msgspec

from gigapi_metadata.doctor import disk
from gigapi_metadata.doctor.finding import Finding, error, note, ok
from gigapi_metadata.stores.surroundings import DiskFacts


class LayerFacts(msgspec.Struct, frozen=True):
    """What was tried on a layer. "" is success, else the error.

    exists: False for a folder that is not there (yet). disk: of a folder.
    write: outcome of writing, refusing to replace, and deleting a probe; None when not asked for.
    """

    name: str
    place: str
    exists: bool = True
    read: str = ""
    write: str | None = None
    disk: DiskFacts | None = None


def findings(facts: LayerFacts) -> Iterator[Finding]:
    """All that can be said of one layer."""
    check = f"layer {facts.name}" if facts.name else "files"
    if not facts.exists:
        yield error(
            check,
            f"{facts.place} is not there",
            f"mkdir -p {shlex.quote(facts.place)}, or mount it",
        )
        return
    if facts.read:
        yield error(check, f"{facts.place} can't be read: {facts.read}", "check its URL and rights")
        return
    if facts.write:
        yield error(
            check, f"{facts.place} can't be written: {facts.write}", "check its credentials"
        )
        return
    if facts.write is None:
        yield ok(check, f"{facts.place} can be read")
        yield note(check, "writing was not tried", "gigapi-metadata doctor --write-probe")
    else:
        yield ok(check, f"{facts.place} can be read; a probe was written, kept and deleted")
    if facts.disk is not None:
        yield from disk.space(facts.disk, check)
