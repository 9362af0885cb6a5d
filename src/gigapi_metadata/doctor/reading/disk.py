"""Looks at the file system under a path, and tries its locks."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from gigapi_metadata.doctor.disk import Access, DiskFacts

TRY_S = 20.0
_MOUNTS = "/proc/self/mountinfo"


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


def try_elsewhere(program: str, path: str) -> str:
    """What `program`, run by another process with `path` as its argument, prints.

    The locks that SQLite takes belong to a process: only another one shows that they hold.
    """
    run = subprocess.run(
        [sys.executable, "-I", "-c", program, path],
        capture_output=True,
        text=True,
        timeout=TRY_S,
        check=False,
    )
    return run.stdout.strip()
