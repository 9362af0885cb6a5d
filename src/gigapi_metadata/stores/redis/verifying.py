"""Whether the time index lists what is there: a day's dirs at a time, each seen at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from gigapi_metadata.stores.base import Steps, TableRef
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.reading import index_keys, places
from gigapi_metadata.stores.redis.scripts import VERIFY, Call, Pipeline, Plain

FILES_AT_ONCE = 10_000
"""About how many files one script call looks at, so that the server is not held up for long."""

MOST = 10
"""So many faults of a day are told one by one."""

_pack = msgspec.msgpack.Encoder().encode


def verify(table: TableRef, days: Iterable[str]) -> Steps[list[str]]:
    """What is wrong with the time index and no query would notice, a sentence each. `days` are
    those that have files, whether the index knows of them or not."""
    hashes = [keys.folders(table), keys.seen(table), keys.full(table), keys.indexed(table)]
    cells = ("ZRANGE", keys.cells(table), "0", "-1")
    *dirs, indexed, members = yield Pipeline([*(("HKEYS", key) for key in hashes), cells])
    known: dict[bytes, set[bytes]] = {
        day: set() for day in (*indexed, *(day.encode(errors="surrogateescape") for day in days))
    }
    for dir in (*(dir for found in dirs for dir in found), *map(_dir_of_cell, members)):
        known.setdefault(_day_of(dir), set()).add(dir)
    by_dir: dict[bytes, list[bytes]] = {}
    for member in members:
        by_dir.setdefault(_dir_of_cell(member), []).append(member)
    faults: list[str] = []
    for day in sorted(day for day in known if not day.startswith(b"/")):
        faults += yield from _verify_day(table, day, known[day], by_dir)
    return faults


def _verify_day(
    table: TableRef, day: bytes, dirs: set[bytes], cells: dict[bytes, list[bytes]]
) -> Steps[list[str]]:
    files = keys.files(table, _text(day))
    paths = yield Plain(("HKEYS", files))
    counts = Counter(path.rpartition(b"/")[0] for path in paths)
    faults: list[str] = []
    left = 0
    for part in _parts(dirs | set(counts), counts):
        job = _pack(places(table) | {"dirs": len(part), "most": max(MOST - len(faults), 0)})
        arguments = [day, *part, *(cell for dir in part for cell in cells.get(dir, ()))]
        number, *told = yield Call(VERIFY, [*index_keys(table), keys.full(table)], job, arguments)
        faults += map(_text, told)
        left += number - len(told)
    if left:
        faults.append(f"{left:,} more of this kind in {files}")
    return faults


def _parts(dirs: set[bytes], counts: Counter[bytes]) -> Iterator[list[bytes]]:
    """Dirs that hold FILES_AT_ONCE files together, or the one that holds more."""
    part: list[bytes] = []
    number = 0
    for dir in sorted(dirs):
        if part and number + counts[dir] > FILES_AT_ONCE:
            yield part
            part, number = [], 0
        part.append(dir)
        number += counts[dir]
    if part:
        yield part


def _dir_of_cell(member: bytes) -> bytes:
    return member.partition(b":")[2]


def _day_of(dir: bytes) -> bytes:
    return dir.partition(b"/")[0]


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
