"""What the file system under a catalog or a layer says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from gigapi_metadata.doctor.finding import Finding, error, note, ok, size, warning

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "sshfs"}
)
MEMORY = frozenset({"tmpfs", "ramfs", "overlay"})

LITTLE_BYTES, VERY_LITTLE_BYTES = 1 << 30, 64 << 20
LITTLE_SHARE = 0.05
FEW_INODES = 1000


class Access(msgspec.Struct, frozen=True):
    """A file or folder: what we may do with it. `mode`: its permission bits."""

    path: str
    exists: bool = True
    folder: bool = False
    readable: bool = True
    writable: bool = True
    mode: int = 0


class DiskFacts(msgspec.Struct, frozen=True):
    """What was read of a folder's file system; `kind` is "" where that is not known."""

    path: str
    kind: str = ""
    free: int = 0
    total: int = 0
    free_inodes: int | None = None
    read_only: bool = False
    fault: str = ""


def space(facts: DiskFacts, check: str) -> Iterator[Finding]:
    """Room for more."""
    if facts.fault:
        yield error(check, f"{facts.path}: {facts.fault}")
        return
    text = f"{facts.path}: {size(facts.free)} free of {size(facts.total)}"
    if facts.read_only:
        yield error(
            check, f"{facts.path} is mounted read-only", f"mount -o remount,rw {facts.path}"
        )
    if facts.free < VERY_LITTLE_BYTES:
        yield error(check, f"{text}: writes fail soon", "free space, or move it to a larger disk")
    elif facts.free < min(LITTLE_BYTES, facts.total * LITTLE_SHARE):
        yield warning(check, text, "free space, or move it to a larger disk")
    elif facts.free_inodes is not None and facts.free_inodes < FEW_INODES and facts.total:
        yield warning(check, f"{facts.path}: {facts.free_inodes} inodes free", "delete small files")
    else:
        yield ok(check, text)


def kind(facts: DiskFacts, *, locks: str) -> Iterator[Finding]:
    """Whether the kind of file system can do it. `locks`: what does not work over a network."""
    if facts.kind in NETWORK or facts.kind.startswith("fuse.sshfs"):
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
                f"chown $(id -un) {each.path}, or run as its owner",
            )
        if each.mode & 0o002 and not each.mode & 0o1000:
            faults = True
            yield warning(
                "permissions",
                f"{each.path} can be changed by every user of this machine",
                f"chmod o-w {each.path}",
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
