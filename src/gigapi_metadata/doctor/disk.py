"""What the file system under a catalog or a layer says. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from gigapi_metadata.doctor.finding import Finding, error, note, ok, size, warning
from gigapi_metadata.stores.surroundings import (
    MEMORY,
    VERY_LITTLE_BYTES,
    Access,
    DiskFacts,
    is_open_to_all,
    is_remote,
    lacks_room,
)

FEW_INODES = 1000


def space(facts: DiskFacts, check: str) -> Iterator[Finding]:
    """Room for more."""
    if facts.fault:
        yield error(check, f"{facts.path}: {facts.fault}")
        return
    text = f"{facts.path}: {size(facts.free)} free of {size(facts.total)}"
    if facts.read_only:
        yield error(
            check,
            f"{facts.path} is mounted read-only",
            f"mount -o remount,rw {shlex.quote(facts.path)}",
        )
    if facts.free < VERY_LITTLE_BYTES:
        yield error(check, f"{text}: writes fail soon", "free space, or move it to a larger disk")
    elif lacks_room(facts):
        yield warning(check, text, "free space, or move it to a larger disk")
    elif facts.free_inodes is not None and facts.free_inodes < FEW_INODES and facts.total:
        yield warning(check, f"{facts.path}: {facts.free_inodes} inodes free", "delete small files")
    else:
        yield ok(check, text)


def kind(facts: DiskFacts, *, locks: str) -> Iterator[Finding]:
    """Whether the kind of file system can do it. `locks`: what does not work over a network."""
    if is_remote(facts):
        yield warning(
            "file system",
            f"{facts.path} is on {facts.kind}: {locks}",
            "put it on a local disk, or use redis://",
        )
    elif facts.kind in MEMORY:
        yield note(
            "file system", f"{facts.path} is on {facts.kind}: it may be gone after a restart"
        )
    elif facts.kind:
        yield ok("file system", f"{facts.path} is on {facts.kind}")
    else:
        yield note("file system", f"the kind of file system of {facts.path} could not be read")


def permissions(found: Sequence[Access]) -> Iterator[Finding]:
    """What we may not do, and what anyone may."""
    faults = False
    for each in found:
        if not each.exists:
            continue
        missing = [
            word for word, may in (("read", each.readable), ("written", each.writable)) if not may
        ]
        if missing:
            faults = True
            say = warning if missing == ["written"] else error
            yield say(
                "permissions",
                f"{each.path} can't be {' or '.join(missing)} by this user",
                f"chown $(id -un) {shlex.quote(each.path)}, or run as its owner",
            )
        if is_open_to_all(each):
            faults = True
            yield warning(
                "permissions",
                f"{each.path} can be changed by every user of this machine",
                f"chmod o-w {shlex.quote(each.path)}",
            )
    if not faults:
        yield ok("permissions", "as they should be")


def locks(works: bool | None, what: str, why: str = "") -> Iterator[Finding]:
    """The outcome of a real try: True, False, or None when it could not be made."""
    if works is None:
        yield note("locks", f"could not be tried{f': {why}' if why else ''}")
    elif works:
        yield ok("locks", f"{what} keep others out")
    else:
        yield error(
            "locks",
            f"{what} do not work here{f' ({why})' if why else ''}: two writers would overwrite "
            "each other",
            "put the catalog on a local disk, or use redis://",
        )
