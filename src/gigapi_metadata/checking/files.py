"""A day's files in one layer against its entries. Pure.

Which file is whose: a data file with an entry; one that waits to be deleted; one that a plan's
worker has made and not yet registered; anything younger than the age that a service or worker may
need. What is left is nobody's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec

from gigapi_metadata.checking.findings import Finding, Quarantine, Reread
from gigapi_metadata.errors import InvalidName
from gigapi_metadata.model import IndexEntry, QueuedPlan
from gigapi_metadata.names import check_path, dir_of
from gigapi_metadata.planning import ATTEMPT_STEM_CHARS, merge_target
from gigapi_metadata.storage import FileInfo
from gigapi_metadata.storage.base import TEMP_PREFIX, TEMP_SUFFIX

SUFFIX = ".parquet"
DEFAULT_MIN_AGE_S = 3600
"""A file younger than this may belong to somebody who has not registered it yet."""


class Known(NamedTuple):
    """An entry, without its statistics, and the place it is stored in."""

    place: str
    entry: IndexEntry


class Claims(msgspec.Struct, frozen=True):
    """Files that belong to somebody although no entry names them, in one layer.

    waiting: paths that wait to be deleted. stems: beginnings of paths of results under way.
    planned: paths that are to be merged or moved. aside: names of entries that were put aside; one
    that ends in `/` is a whole folder. lost: folders whose counts say that they have more files.
    """

    waiting: Collection[str]
    stems: Collection[str]
    planned: Collection[str]
    aside: Collection[str]
    lost: Collection[str]


def is_data(path: str) -> bool:
    """Whether a file is one that tables consist of: what scans pass over is not."""
    name = path.rpartition("/")[2]
    hidden = path.startswith(("_", ".")) or "/." in path or "/_" in path
    return name.endswith(SUFFIX) and not hidden


def is_legal(path: str) -> bool:
    """Whether an entry can name a file at `path`. File systems and S3 take other names as well."""
    try:
        check_path(path)
    except InvalidName:
        return False
    return True


def is_unfinished(path: str) -> bool:
    """Whether a file is a worker's temporary one."""
    name = path.rpartition("/")[2]
    return name.startswith(TEMP_PREFIX) and name.endswith(TEMP_SUFFIX)


def claims(
    layer: str, plans: Iterable[QueuedPlan], aside: Collection[str], lost: Collection[str]
) -> Claims:
    """What plans, and the rest, claim in `layer`."""
    planned: set[str] = set()
    waiting: set[str] = set()
    stems: set[str] = set()
    for plan in plans:
        if plan.kind != "drop" and plan.layer == layer:
            planned.update(plan.paths)
        if plan.kind == "drop" and plan.layer == layer:
            waiting.update(plan.paths)
        elif plan.kind == "merge" and plan.layer == layer and plan.paths:
            target = merge_target(plan.id, plan.dir, plan.iteration, plan.paths[0])
            stems.add(stem_of(target))
        elif plan.kind == "move" and plan.layer_to == layer and plan.path_to:
            stems.add(stem_of(plan.path_to))
            first = plan.paths[0]
            stems.add(stem_of(merge_target(plan.id, dir_of(first), 0, first)))
    return Claims(waiting, stems, planned, aside, lost)


def stem_of(path: str) -> str:
    """What the files of all attempts at a plan begin with, `path` being its target."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name[:ATTEMPT_STEM_CHARS]}"


def is_claimed(path: str, claimed: Claims) -> bool:
    """Whether a file waits to be deleted, or is an attempt's at a plan, finished or not."""
    folder, slash, name = path.rpartition("/")
    stem = f"{folder}{slash}{name.removeprefix(TEMP_PREFIX)[:ATTEMPT_STEM_CHARS]}"
    return path in claimed.waiting or stem in claimed.stems


def compare(
    layer: str,
    known: Mapping[str, Known],
    found: Iterable[FileInfo],
    claimed: Claims,
    young_s: float,
    adopt: bool = False,
) -> list[Finding]:
    """What is wrong between entries of `layer` and the files there. Files that have changed since
    `young_s` (Unix) are nobody's business. Whatever it says has to be looked at once more: the two
    sides were not read at one moment."""
    findings: list[Finding] = []
    there: dict[str, FileInfo] = {}
    for file in found:
        there[file.path] = file
        if file.path in known:
            continue
        if file.modified_s > young_s and not _was_put_aside(file.path, claimed.aside):
            continue
        finding = _nobodys(layer, file, claimed, adopt)
        if finding is not None:
            findings.append(finding)
    for path, (place, entry) in known.items():
        its = there.get(path)
        of = (path, layer, place)
        if its is None:
            mend = Reread(place, entry, gone=True)
            findings.append(Finding("missing-file", "its file is not there", *of, mend))
        elif its.size != entry.size_bytes:
            text = f"the file has {its.size:,} bytes, its entry says {entry.size_bytes:,}"
            findings.append(Finding("wrong-size", text, *of, Reread(place, entry)))
    return findings


def _nobodys(layer: str, file: FileInfo, claimed: Claims, adopt: bool) -> Finding | None:
    path = file.path
    if is_claimed(path, claimed):
        return None
    if is_unfinished(path):
        text = "the unfinished file of a worker that was killed"
        return Finding("leftover", text, path, layer, mend=Quarantine(layer, path))
    if not is_data(path):
        return None
    evidence, sure = _evidence(path, claimed)
    if evidence:
        mend = Quarantine(layer, path, adopt=True) if sure or adopt else None
        return Finding("unregistered", evidence, path, layer, mend=mend)
    text = f"no entry names it ({file.size:,} bytes)"
    return Finding("orphan", text, path, layer, mend=Quarantine(layer, path, adopt))


def _evidence(path: str, claimed: Claims) -> tuple[str, bool]:
    """What shows that a file was registered, "" if nothing does; whether it surely was."""
    if _was_put_aside(path, claimed.aside):
        return "its entry was put aside", True
    if path in claimed.planned:
        return "a plan names it and no entry does: that was lost", True
    if dir_of(path) in claimed.lost:
        text = (
            "no entry names it, and its folder's count says that some were lost: --adopt registers "
            "it, --force passes over the count"
        )
        return text, False
    return "", False


def _was_put_aside(path: str, aside: Iterable[str]) -> bool:
    return any(
        path == name or (name.endswith("/") and path.startswith(name) and dir_of(path) == name[:-1])
        for name in aside
    )


def differences(known: Known, read: IndexEntry, deep: bool) -> list[Finding]:
    """What an entry says otherwise than its file's footer."""
    entry, path = known.entry, known.entry.path
    of = (path, entry.layer, known.place, Reread(known.place, entry))
    findings = []
    if read.row_count != entry.row_count and (deep or entry.row_count):
        text = f"the file has {read.row_count:,} rows, its entry says {entry.row_count:,}"
        findings.append(Finding("wrong-rows", text, *of))
    if deep and (read.min_time, read.max_time) != (entry.min_time, entry.max_time):
        text = (
            f"the file covers {read.min_time} to {read.max_time}, its entry says "
            f"{entry.min_time} to {entry.max_time}"
        )
        findings.append(Finding("wrong-times", text, *of))
    return findings
