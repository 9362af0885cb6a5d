"""Whether entries may be written: what every write goes through. Pure.

`check_entry` names what is wrong; `are_plain` tells at a tenth of the cost that nothing is, for the
batches that nearly all are, and is in doubt about the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from gigapi_metadata.errors import InvalidEntry, InvalidName
from gigapi_metadata.model import IndexEntry, Stats
from gigapi_metadata.names import are_plain_paths, check_name, check_path, check_writer
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN

_UINT64_MAX = 2**64 - 1
_MAX_DEPTH = 16  # of lists and dicts within one statistic


def are_plain(entries: Sequence[IndexEntry], database: str, table: str) -> bool:
    """Whether `check_entry` surely takes all of them. False says nothing.

    A dict of statistics is gone through once, though many entries share it.
    """
    places = set()
    stats: dict[int, Stats] = {}
    for entry in entries:
        if type(entry) is not IndexEntry:
            return False
        size, rows, chunk_time = entry.size_bytes, entry.row_count, entry.chunk_time
        low, high = entry.min_time, entry.max_time
        if not (
            type(size) is type(rows) is type(chunk_time) is type(low) is type(high) is int
            and 0 <= size <= INT64_MAX
            and 0 <= rows <= INT64_MAX
            and INT64_MIN <= chunk_time <= INT64_MAX
            and INT64_MIN <= low <= high <= INT64_MAX
        ):
            return False
        places.add((entry.database, entry.table, entry.layer, entry.writer_id))
        if entry.min_data is not None:
            stats[id(entry.min_data)] = entry.min_data
        if entry.max_data is not None:
            stats[id(entry.max_data)] = entry.max_data
    return (
        all(_is_plain_place(place, database, table) for place in places)
        and all(map(_are_plain_stats, stats.values()))
        and all(type(entry.path) is str for entry in entries)
        and are_plain_paths([entry.path for entry in entries])
    )


def _is_plain_place(place: tuple[str, str, str, str], database: str, table: str) -> bool:
    try:
        check_writer(place[3])
        if place[2] != "":
            check_name("layer", place[2])
    except InvalidName:
        return False
    return place[:2] == (database, table)


def _are_plain_stats(stats: Stats) -> bool:
    if type(stats) is not dict:
        return False
    for column, value in stats.items():
        kind = type(value)
        if not (
            type(column) is str
            and column.isascii()
            and (
                (kind is float and isfinite(value))
                or (kind is int and INT64_MIN <= value <= INT64_MAX)
                or (kind is str and value.isascii())
            )
        ):
            return False
    return True


def check_entry(entry: IndexEntry, database: str, table: str) -> IndexEntry:
    """`entry` itself if it may be written to `database`.`table`. Pure.

    Raises:
        InvalidEntry: naming the entry, the field and the rule that it breaks.
    """
    if not isinstance(entry, IndexEntry):
        raise InvalidEntry(f"an entry must be an IndexEntry, not {type(entry).__name__}")
    try:
        check_path(entry.path)
        check_writer(entry.writer_id)
        if entry.layer != "":
            check_name("layer", entry.layer)
    except InvalidName as fault:
        raise InvalidEntry(f"entry {entry.path!r}: {fault}") from fault
    if entry.database != database or entry.table != table:
        raise _invalid(
            entry,
            f"it belongs to {entry.database!r}.{entry.table!r}, "
            f"this index is of {database!r}.{table!r}",
        )
    _check_numbers(entry)
    if entry.min_data is not None:
        _check_stats(entry, "min", entry.min_data)
    if entry.max_data is not None:
        _check_stats(entry, "max", entry.max_data)
    return entry


def _check_numbers(entry: IndexEntry) -> None:
    size, rows, chunk_time = entry.size_bytes, entry.row_count, entry.chunk_time
    min_time, max_time = entry.min_time, entry.max_time
    if (
        type(size) is type(rows) is type(chunk_time) is type(min_time) is type(max_time) is int
        and 0 <= size <= INT64_MAX
        and 0 <= rows <= INT64_MAX
        and INT64_MIN <= chunk_time <= INT64_MAX
        and INT64_MIN <= min_time <= max_time <= INT64_MAX
    ):
        return
    for field in ("size_bytes", "row_count", "min_time", "max_time", "chunk_time"):
        value = getattr(entry, field)
        if type(value) is not int:
            raise _invalid(entry, f"{field} must be an int, not {type(value).__name__}")
        if value < 0 and field in ("size_bytes", "row_count"):
            raise _invalid(entry, f"{field} {value} is negative")
        if not INT64_MIN <= value <= INT64_MAX:
            raise _invalid(entry, f"{field} {value} does not fit 64 bits")
    raise _invalid(entry, f"min_time {min_time} is after max_time {max_time}")


def _invalid(entry: IndexEntry, fault: str) -> InvalidEntry:
    return InvalidEntry(f"entry {entry.path!r}: {fault}")


def _check_stats(entry: IndexEntry, which: str, stats: Stats) -> None:
    if not isinstance(stats, dict):
        raise _invalid(entry, f"{which} must be a dict or None")
    if _are_plain_stats(stats):
        return
    for column, value in stats.items():
        fault = _key_fault(column) or _value_fault(value)
        if fault:
            raise _invalid(entry, f"{which}[{column!r}] {fault}")


def _key_fault(key: Any) -> str:
    return _value_fault(key) if type(key) is str else "is no column name: that is a string"


def _value_fault(value: Any, depth: int = 0) -> str:
    """What is wrong with a statistic: JSON must hold it, and every reader read the same."""
    kind = type(value)
    if kind is dict or kind is list:
        return _nested_fault(value, depth + 1)
    if kind is str:
        fault = "" if value.isascii() or _is_unicode(value) else "is not valid Unicode text"
    elif kind is float:
        fault = "" if isfinite(value) else f"is {value}; leave the column out"
    elif kind is int:
        fault = "" if INT64_MIN <= value <= _UINT64_MAX else f"{value} does not fit 64 bits"
    elif value is None or kind is bool:
        fault = ""
    else:
        fault = f"is a {kind.__name__}; use None, bool, int, float, str, lists or dicts"
    return fault


def _nested_fault(value: dict[Any, Any] | list[Any], depth: int) -> str:
    if depth > _MAX_DEPTH:
        return f"is nested more than {_MAX_DEPTH} levels deep"
    if isinstance(value, dict):
        keys = (_key_fault(key) for key in value)
        parts = (_value_fault(part, depth) for part in value.values())
        return next(filter(None, (*keys, *parts)), "")
    return next(filter(None, (_value_fault(part, depth) for part in value)), "")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
