"""Cells of the time index: the records that say when a dir's files begin and end.

A record is `min_time` and `max_time`, in whole microseconds rounded down, as doubles; the length of
the file's name; and the name. A cell has its bounds before them. The same in lua/index.lua.
Rounding keeps the order of times, so what is found is never too little; the documents have the
exact times.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gigapi_metadata.model import IndexEntry
from gigapi_metadata.timerange import Window

CELL_FILES = 400
"""How many files of one batch are listed in a cell."""

_BOUNDS = struct.Struct("<dd")
_HEAD = struct.Struct("<ddH")
_NAME_SIZE = struct.Struct("<16xH")


def microseconds(ns: int) -> float:
    """A time as the index has it. Whatever is compared with such a time has to be one."""
    return float(ns // 1000)


def list_files(dir: str, entries: Sequence[IndexEntry], records: list[bytes]) -> list[float]:
    """Append the records of a dir's files to `records`.

    Returns:
        How they are to be spread over cells, four numbers a part: bytes, files, and the bounds of
        their times in microseconds.
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
            records += (pack(entry.min_time // 1000, entry.max_time // 1000, len(name)), name)
            size += len(name)
        low = min([entry.min_time for entry in part]) // 1000
        high = max([entry.max_time for entry in part]) // 1000
        parts += (size, len(part), float(low), float(high))
    return parts


def names_within(cell: bytes, window: Window) -> list[bytes]:
    """The names of the files in a cell that may overlap `window`."""
    after, before = microseconds(window.after), microseconds(window.before)
    first, last = _BOUNDS.unpack_from(cell)
    (size,) = _NAME_SIZE.unpack_from(cell, _BOUNDS.size)
    if not _are_alike(cell, size):
        return _names_one_by_one(cell, after, before)
    records = memoryview(cell)[_BOUNDS.size :]
    if after <= first and last <= before:
        return [name for (name,) in struct.iter_unpack(f"<18x{size}s", records)]
    return [
        name
        for low, high, name in struct.iter_unpack(f"<dd2x{size}s", records)
        if low <= before and high >= after
    ]


def _are_alike(cell: bytes, size: int) -> bool:
    """Whether all names have `size` bytes, as is nearly always so: then a record is as wide as the
    next, and the lengths stand at equal distances."""
    width = _HEAD.size + size
    number, rest = divmod(len(cell) - _BOUNDS.size, width)
    if rest:
        return False
    low = _BOUNDS.size + _NAME_SIZE.size - 2
    return cell[low::width] == bytes((size & 255,)) * number and (
        cell[low + 1 :: width] == bytes((size >> 8,)) * number
    )


def _names_one_by_one(cell: bytes, after: float, before: float) -> list[bytes]:
    names: list[bytes] = []
    at = _BOUNDS.size
    while at < len(cell):
        low, high, size = _HEAD.unpack_from(cell, at)
        at += _HEAD.size
        if low <= before and high >= after:
            names.append(cell[at : at + size])
        at += size
    return names
