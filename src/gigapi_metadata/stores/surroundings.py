"""What lies under the files of a catalog: the file system, its room, who may do what with them.

Cheap enough to be looked at beside a process's first write; `doctor` looks at the same and more.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator

import msgspec

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "sshfs"}
)
MEMORY = frozenset({"tmpfs", "ramfs", "overlay"})

LITTLE_BYTES, VERY_LITTLE_BYTES = 1 << 30, 64 << 20
LITTLE_SHARE = 0.05


SQLITE_FAR_AWAY = "SQLite's WAL does not work over a network"
FOLDERS_FAR_AWAY = "its locks may not keep other machines out"
"""What a file system of another machine means for each store."""

_MOUNTS = "/proc/self/mountinfo"


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


def read(path: str) -> DiskFacts:
    """What lies under `path`, or under the first folder above it that is there."""
    place = os.path.abspath(path)
    while not os.path.exists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    try:
        found = os.statvfs(place)
    except OSError as fault:
        return DiskFacts(path, fault=fault.strerror or str(fault))
    return DiskFacts(
        path,
        kind_of(os.path.realpath(place)),
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_favail if found.f_files else None,
        bool(found.f_flag & os.ST_RDONLY),
    )


def kind_of(path: str, mounts: str = _MOUNTS) -> str:
    """The kind of file system that `path`, without links, is on; "" when that is not known."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        if len(words) < 5 or not rest:
            continue
        # Spaces and the like are written as \040.
        mount = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, rest.split(" ")[0]
    return kind


def access(path: str) -> Access:
    """What we may do with a file or folder."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Access(path, exists=False)
    except OSError:
        return Access(path, readable=False, writable=False)
    return Access(
        path,
        folder=os.path.isdir(path),
        readable=os.access(path, os.R_OK),
        writable=os.access(path, os.W_OK),
        mode=mode & 0o7777,
    )


def lacks_room(facts: DiskFacts) -> bool:
    """Whether the disk will be full before long."""
    return facts.free < max(VERY_LITTLE_BYTES, min(LITTLE_BYTES, facts.total * LITTLE_SHARE))


def is_open_to_all(found: Access) -> bool:
    """Whether every user of the machine can change it; of a folder with the sticky bit, such as
    /tmp, only what is theirs."""
    return bool(found.mode & stat.S_IWOTH and not found.mode & stat.S_ISVTX)


def is_remote(facts: DiskFacts) -> bool:
    """Whether it lies on another machine, as far as that is known."""
    return facts.kind in NETWORK or facts.kind.startswith("fuse.sshfs")


def harms(folder: str, paths: Iterable[str], locks: str) -> Iterator[str]:
    """What endangers a catalog in `folder` whose files, and folders, are `paths`. `locks`: what
    does not work over a network. Never raises."""
    under = read(folder)
    if under.fault:
        return
    if is_remote(under):
        yield f"is on {under.kind}: {locks}"
    if lacks_room(under):
        yield f"is on a disk with {under.free >> 20} MiB left"
    for path in paths:
        if is_open_to_all(access(path)):
            yield f"can be changed by every user of this machine ({path}): chmod o-w"
