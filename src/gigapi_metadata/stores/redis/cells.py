"""Cells of the time index: the records that say when a dir's files begin and end.

A record is `min_time` and `max_time` as doubles, the length of the file's name, and the name; the
same in lua/index.lua. A double is up to 1,024 ns off, so windows are widened by `SLACK_NS` and what
is found is a few files too many; the documents have the exact times.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gigapi_metadata.model import IndexEntry
from gigapi_metadata.timerange import Window

SLACK_NS = 4096

CELL_FILES = 512
"""How many files of one batch are listed in a cell."""

_HEAD = struct.Struct("<ddH")
_NAME_SIZE = struct.Struct("<16xH")


def list_files(dir: str, entries: Sequence[IndexEntry], records: list[bytes]) -> list[float]:
    """Append the records of a dir's files to `records`.

    Returns:
        How they are to be spread over cells, four numbers a part: bytes, files, min_time, max_time.
    """
    parts: list[float] = []
    if len(entries) > CELL_FILES:
        # Cells that are short in time are left out by more queries.
        entries = sorted(entries, key=lambda entry: entry.min_time)
    name_at = len(dir) + 1
    pack = _HEAD.pack
    for first in range(0, len(entries), CELL_FILES):
        part = entries[first : first + CELL_FILES]
        size = _HEAD.size * len(part)
        for entry in part:
            name = entry.path[name_at:].encode()
            records += (pack(entry.min_time, entry.max_time, len(name)), name)
            size += len(name)
        low = float(min([entry.min_time for entry in part]))
        parts += (size, len(part), low, float(max([entry.max_time for entry in part])))
    return parts


def names_within(records: bytes, window: Window) -> list[bytes]:
    """The names of the files in a cell that may overlap `window`."""
    after, before = window.after - SLACK_NS, window.before + SLACK_NS
    if not records:
        return []
    (size,) = _NAME_SIZE.unpack_from(records)
    width = _HEAD.size + size
    if len(records) % width == 0:
        # Names are nearly always of one length: then a record is as wide as the next.
        names: list[bytes] = []
        for low, high, length, name in struct.iter_unpack(f"<ddH{size}s", records):
            if length != size:
                break
            if low <= before and high >= after:
                names.append(name)
        else:
            return names
    return _names_one_by_one(records, after, before)


def _names_one_by_one(records: bytes, after: int, before: int) -> list[bytes]:
    names: list[bytes] = []
    at = 0
    while at < len(records):
        low, high, size = _HEAD.unpack_from(records, at)
        at += _HEAD.size
        if low <= before and high >= after:
            names.append(records[at : at + size])
        at += size
    return names
