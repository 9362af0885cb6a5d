"""Which files overlap a window: through the time index, or from the `files:` hashes.

The index is believed only while nothing shows that somebody else has written (lua/select.lua). When
something does, it is mended and asked again; where that can't be - it may not be written to, or
others write faster than it is mended - the hashes answer.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from gigapi_metadata.errors import CorruptState, StoreError, Unavailable
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import day_of
from gigapi_metadata.stores.base import Part, PlacedT, Selection, Steps, TableRef
from gigapi_metadata.stores.redis import documents, keys
from gigapi_metadata.stores.redis.cells import microseconds, names_within
from gigapi_metadata.stores.redis.scripts import FILTER, MEND, SELECT, Call, Pipeline, Plain
from gigapi_metadata.stores.redis.session import FullChecks
from gigapi_metadata.timerange import Window

DAYS_AT_ONCE = 16
"""How many days' files one round trip fetches."""

ALL_DAYS = 64
ALL_DIRS = 128
"""Of up to so many days and folders, each query checks all for foreign changes."""

NEAR_CELLS = 26
"""Of more, it checks those that so many cells on either side of its window belong to, and now and
then all (session.py)."""

MOST_BYTES = 4_000_000
"""How much of the index a query reads, some 60,000 files; beyond, all days are read whole."""

FILES_AT_ONCE = 10_000
"""How many documents one command fetches."""

MEND_FILES = 20_000
"""After how many files a call that mends the index lets others go first."""

MENDINGS = 3
"""How often a query mends the index before it turns to the hashes."""

FETCHES = 5
"""How often it asks the index anew because files that it named were gone."""

_LIMITS = {
    "days": ALL_DAYS,
    "dirs": ALL_DIRS,
    "near": NEAR_CELLS,
}

_EVERYTHING = Window()

in_order = attrgetter("min_time", "path")
"""What entries are ordered by."""

_begin = attrgetter("min_time")

_pack = msgspec.msgpack.Encoder().encode


Decode = Callable[[Sequence[bytes], str], list[PlacedT]]
"""Makes what is asked for of the documents under a key."""


def select(
    table: TableRef,
    selection: Selection,
    checks: FullChecks,
    decode: Decode[PlacedT],
    *,
    shared: bool,
) -> Steps[list[PlacedT]]:
    """Every entry that matches, in no order. A day is seen at one moment."""
    if selection.window == _EVERYTHING:
        return (
            yield from _whole_days(table, selection, decode, (yield from days(table, selection)))
        )
    if shared:
        return (yield from _filtered(table, selection, decode))
    missed = set[bytes]()
    for _ in range(FETCHES):
        outcome, found = yield from _ask(table, selection, checks, MOST_BYTES)
        if outcome == b"MANY":
            overlapping = [day.decode(errors="surrogateescape") for day in found[::2]]
            return (yield from _whole_days(table, selection, decode, overlapping))
        if outcome != b"OK":
            break
        entries, gone = yield from _fetched(table, selection, decode, found)
        if not gone:
            return entries
        # A file went between the two calls: it was removed, or merged. One that is named once more
        # had gone before, in a way that shows nowhere else.
        suspects = {path.partition(b"/")[0] for path in gone & missed}
        if suspects and not (yield from _mended(table, checks, suspects)):
            break
        missed = gone
    return (yield from _filtered(table, selection, decode))


def stream(
    table: TableRef, selection: Selection, checks: FullChecks, *, shared: bool, size: int
) -> Steps[None]:
    """See `Store.stream`. A day is seen at one moment: a day's files are held until the
    next one is known to begin after them. Without the index, all are held."""
    outcome, found = b"STALE", list[bytes]()
    if not shared:
        outcome, found = yield from _ask(table, selection, checks, 0)
    if outcome != b"MANY":
        entries = yield from select(table, selection, checks, documents.decode_all, shared=shared)
        entries.sort(key=in_order)
        yield from _as_parts(entries, size)
        return
    # A little early, for the index rounds what lies centuries away.
    begins = [(float(us) - 2) * 1000 for us in found[1::2]]
    by_time = sorted(zip(begins, found[::2], strict=True))
    waiting: list[IndexEntry] = []
    for position, (begin, day) in enumerate(by_time):
        key = keys.files(table, day.decode(errors="surrogateescape"))
        entries = _matching(selection, documents.decode_all, (yield Plain(("HVALS", key))), key)
        # What has come since the days were asked for may belong among those that are given.
        waiting += [entry for entry in entries if entry.min_time >= begin]
        waiting.sort(key=in_order)
        last = position + 1 == len(by_time)
        end = len(waiting) if last else bisect_left(waiting, by_time[position + 1][0], key=_begin)
        end -= 0 if last else end % size
        yield from _as_parts(waiting[:end], size)
        del waiting[:end]


def _as_parts(entries: list[IndexEntry], size: int) -> Steps[None]:
    for first in range(0, len(entries), size):
        yield Part(entries[first : first + size])


def days(table: TableRef, selection: Selection) -> Steps[list[str]]:
    """The days that hold files, as far as `selection.folder` leaves them open, sorted."""
    folders = keys.folders(table)
    dirs, known = yield Pipeline([("HKEYS", folders), ("HKEYS", keys.indexed(table))])
    # GigAPI can lose count of a folder and then lists it no more; its day is known by the index.
    found = {day_of(decode_field(dir, folders)) for dir in dirs}
    found |= {day.decode(errors="surrogateescape") for day in known}
    first, slash, _ = selection.folder.partition("/")
    return sorted(
        day
        for day in found
        if not day.startswith("/") and (day == first if slash else day.startswith(first))
    )


def decode_field(field: bytes, key: str) -> str:
    """The name of a field of a hash of GigAPI's.

    Raises:
        CorruptState: it is no UTF-8, so no path that anybody could have added.
    """
    try:
        return field.decode()
    except UnicodeDecodeError as fault:
        shown = field[:200].decode(errors="backslashreplace")
        raise CorruptState(
            f"{key} has a field that is no UTF-8: {shown}; `gigapi-metadata check` says what "
            "can be done"
        ) from fault


def mend(table: TableRef, *, anew: bool = False, suspects: Collection[bytes] = ()) -> Steps[None]:
    """Bring the time index up to what is stored; `anew` forgets it first. In steps, others write
    between them.

    suspects: days that are to be listed anew, whether or not they show a change.
    """
    names = [day.decode(errors="replace") for day in suspects]
    anew = anew or any("\ufffd" in name for name in names)  # no UTF-8: a script can't be told of it
    job: dict[str, Any] = places(table) | {"anew": anew, "suspects": names, "budget": MEND_FILES}
    left = 1
    while left:
        left = yield Call(MEND, [*index_keys(table), keys.full(table)], _pack(job))
        if isinstance(left, bytes):
            fault = left.decode(errors="replace")
            raise StoreError(
                f"the time index of {table.database}.{table.table} can't be mended: {fault}"
            )
        job |= {"anew": False, "suspects": []}


def _mended(table: TableRef, checks: FullChecks, suspects: Collection[bytes] = ()) -> Steps[bool]:
    """`mend`, where that can be: not for a user who may only read, nor on a replica. Neither tries
    it with each query."""
    if not checks.may_mend:
        return False
    try:
        yield from mend(table, suspects=suspects)
    except Unavailable:
        raise
    except StoreError:
        checks.mending_refused()
        return False
    return True


def _ask(
    table: TableRef, selection: Selection, checks: FullChecks, most_bytes: int
) -> Steps[tuple[bytes, list[bytes]]]:
    """What select.lua answers, after the index was mended where that is needed and can be."""
    job = places(table) | _wanted(selection) | _LIMITS | {"most_bytes": most_bytes}
    for attempt in range(MENDINGS + 1):
        with checks.turn(table) as full:
            job["full"] = full
            outcome, *found = yield Call(SELECT, index_keys(table), _pack(job))
        if outcome != b"STALE" or attempt == MENDINGS:
            break
        if not (yield from _mended(table, checks)):
            break
    return outcome, found


def index_keys(table: TableRef) -> list[str]:
    """KEYS of the scripts that read the time index."""
    return [
        keys.folders(table),
        keys.cells(table),
        keys.seen(table),
        keys.indexed(table),
        keys.noted(table),
    ]


def places(table: TableRef) -> dict[str, Any]:
    """Where the keys lie that those scripts find by what is stored."""
    return {
        "cell_prefix": keys.cell(table, ""),
        "files_prefix": keys.files(table, ""),
        "drop_prefix": keys.drop_queue(table, "\n", "").partition("\n")[0],
    }


def _wanted(selection: Selection) -> dict[str, Any]:
    return {
        "after": microseconds(selection.window.after),
        "before": microseconds(selection.window.before),
        "folder": selection.folder,
        "suffix": selection.suffix if selection.iteration else "",
    }


def _fetched(
    table: TableRef, selection: Selection, decode: Decode[PlacedT], cells: list[bytes]
) -> Steps[tuple[list[PlacedT], set[bytes]]]:
    """The entries that cells list, and no paths; or paths that are not there any more."""
    wanted: dict[str, list[bytes]] = {}
    for dir, records in zip(cells[::2], cells[1::2], strict=True):
        day = dir.partition(b"/")[0].decode(errors="surrogateescape")
        head = dir + b"/"
        try:
            names = names_within(records, selection.window)
        except struct.error as fault:
            raise CorruptState(
                f"a cell of the time index of {table.database}.{table.table} can't be read; "
                f"`gigapi-metadata reindex {table.database}.{table.table}` makes it anew"
            ) from fault
        wanted.setdefault(keys.files(table, day), []).extend([head + name for name in names])
    entries: list[PlacedT] = []
    for key, found in wanted.items():
        paths = _narrowed(selection, found)
        for start in range(0, len(paths), FILES_AT_ONCE):
            part = paths[start : start + FILES_AT_ONCE]
            stored = yield Plain(("HMGET", key, *part))
            if None in stored:
                pairs = zip(part, stored, strict=True)
                return [], {path for path, document in pairs if document is None}
            entries += _matching(selection, decode, stored, key)
    return entries, set()


def _narrowed(selection: Selection, paths: list[bytes]) -> list[bytes]:
    if not selection.folder and not selection.iteration:
        return paths
    head = selection.folder.encode()
    tail = selection.suffix.encode() if selection.iteration else b""
    return [path for path in paths if path.startswith(head) and path.endswith(tail)]


def _whole_days(
    table: TableRef, selection: Selection, decode: Decode[PlacedT], wanted: list[str]
) -> Steps[list[PlacedT]]:
    """From all of each day's documents: for what takes most of them anyway."""
    entries: list[PlacedT] = []
    for start in range(0, len(wanted), DAYS_AT_ONCE):
        day_keys = [keys.files(table, day) for day in wanted[start : start + DAYS_AT_ONCE]]
        found = yield Pipeline([("HVALS", key) for key in day_keys])
        for key, stored in zip(day_keys, found, strict=True):
            entries += _matching(selection, decode, stored, key)
    return entries


def _filtered(
    table: TableRef, selection: Selection, decode: Decode[PlacedT]
) -> Steps[list[PlacedT]]:
    """From every day's documents, looked through by the server: only what matches travels."""
    entries: list[PlacedT] = []
    job = _pack(_wanted(selection))
    for day in (yield from days(table, selection)):
        key = keys.files(table, day)
        entries += _matching(selection, decode, (yield Call(FILTER, [key], job)), key)
    return entries


def _matching(
    selection: Selection, decode: Decode[PlacedT], stored: Sequence[bytes], key: str
) -> list[PlacedT]:
    return selection.among(decode(stored, key))
