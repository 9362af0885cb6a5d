"""Queries: the files of a window, one file, the folders there are.

Every function runs in a transaction that the caller has opened.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from gigapi_metadata.stores.base import Selection, TableRef
from gigapi_metadata.stores.sqlite.connection import Database
from gigapi_metadata.stores.sqlite.rows import COLUMNS, join_path, split_path
from gigapi_metadata.timerange import INT64_MIN, Window

_ROW = f"{COLUMNS}, dir, name"

# One statement, which needs no transaction around it.
_GET = f"""
    SELECT {_ROW} FROM files
    WHERE table_id = (SELECT id FROM tables WHERE database = ? AND name = ?)
      AND dir = ? AND name = ?
"""


def get(db: sqlite3.Connection, table: TableRef, path: str) -> tuple[Any, ...] | None:
    """The row of `path`."""
    row: tuple[Any, ...] | None = db.execute(_GET, (*table, *split_path(path))).fetchone()
    return row


def select(db: Database, table: TableRef, selection: Selection) -> list[tuple[Any, ...]]:
    """The rows that match, each once. With a window, the cost follows the files found; else, with a
    folder, the files in it."""
    table_id = db.table_id(table)
    if table_id is None:
        return []
    rows: list[tuple[Any, ...]] = []
    condition, values = _filters(selection)
    by_path = selection.window.unbounded and selection.folder != ""
    for place, bounds in _places(db, table_id, selection):
        # Named, for SQLite may think a pass over all of the table shorter.
        order = "INDEXED BY files_path" if by_path else ""
        query = f"SELECT {_ROW} FROM files {order} WHERE table_id = ? AND {place}{condition}"
        rows += db.execute(query, (table_id, *bounds, *values))
    return rows


def ordered(db: Database, table: TableRef, selection: Selection) -> Iterator[tuple[Any, ...]]:
    """The rows that match by (min_time, path), read as they are asked for."""
    table_id = db.table_id(table)
    if table_id is None:
        return
    condition, values = _filters(selection)
    each_span = [
        db.execute(
            f"SELECT {_ROW} FROM files WHERE table_id = ? AND {place}{condition} ORDER BY min_time",
            (table_id, *bounds, *values),
        )
        for place, bounds in _spans_of(db, table_id, selection)
    ]
    by_time = merge(*each_span, key=_min_time)
    for _, at_once in groupby(by_time, _min_time):
        yield from sorted(at_once, key=lambda row: join_path(row[-2], row[-1]))


_min_time = itemgetter(1)

_Condition = tuple[str, list[Any]]
"""SQL, and the values in it."""


def _places(db: sqlite3.Connection, table_id: int, selection: Selection) -> list[_Condition]:
    """Where in one of the two orders the rows lie that may match; no row lies in two places."""
    folder = selection.folder
    if not selection.window.unbounded:
        return _spans_of(db, table_id, selection)
    if not folder:
        return [("1", [])]
    parent, slash, begin = folder.rpartition("/")
    places = [_begins("dir", folder)]
    if parent or not slash:  # no path begins with a slash
        condition, values = _begins("name", begin) if begin else ("1", [])
        places.append((f"dir = ? AND {condition}", [parent, *values]))
    return places


def _spans_of(db: sqlite3.Connection, table_id: int, selection: Selection) -> list[_Condition]:
    condition = "span = ? AND min_time BETWEEN ? AND ? AND max_time >= ?"
    if selection.folder:
        condition += " AND substr(iif(dir = '', name, dir || '/' || name), 1, ?) = ?"
    found = spans(db, table_id)
    return [(condition, _bounds(selection.window, span, selection.folder)) for span in found]


def spans(db: sqlite3.Connection, table_id: int) -> list[int]:
    """The spans that occur: a few, each found by one step in the index."""
    found = db.execute(_steps("span"), {"table_id": table_id})
    return [row[0] for row in found]


def folders(db: Database, table: TableRef) -> list[str]:
    """The dirs that hold files, sorted: one step for each."""
    table_id = db.table_id(table)
    if table_id is None:
        return []
    return [row[0] for row in db.execute(_steps("dir"), {"table_id": table_id})]


def _steps(column: str) -> str:
    """The different values of the column that an index begins with, in order, whatever number of
    rows there is of each."""
    return f"""
        WITH RECURSIVE step (value) AS (
            SELECT min({column}) FROM files WHERE table_id = :table_id
            UNION ALL
            SELECT (SELECT min({column}) FROM files
                    WHERE table_id = :table_id AND {column} > step.value)
            FROM step WHERE step.value IS NOT NULL)
        SELECT value FROM step WHERE value IS NOT NULL
    """


def _bounds(window: Window, span: int, folder: str) -> list[Any]:
    # The first min_time that a file of this span can have which overlaps the window.
    earliest = max(window.after - (1 << span) + 1, INT64_MIN)
    prefix: list[Any] = [len(folder), folder] if folder else []
    return [span, earliest, window.before, window.after, *prefix]


def _filters(selection: Selection) -> _Condition:
    """The conditions beside the window and the folder."""
    conditions: list[str] = []
    values: list[Any] = []
    if selection.iteration:
        conditions.append("substr(name, ?) = ?")
        values += [-len(selection.suffix), selection.suffix]
    if selection.layer is not None:
        conditions.append("layer = ?")
        values.append(selection.layer)
    return "".join(f" AND {condition}" for condition in conditions), values


def _begins(column: str, prefix: str) -> _Condition:
    end = _end_of_prefix(prefix)
    if end is None:
        return f"{column} >= ?", [prefix]
    return f"{column} >= ? AND {column} < ?", [prefix, end]


def _end_of_prefix(prefix: str) -> str | None:
    """The first text after all that begin with `prefix`, as SQLite sorts; None if there is none."""
    for length in range(len(prefix), 0, -1):
        following = ord(prefix[length - 1]) + 1
        if following == 0xD800:
            following = 0xE000  # there are no characters in between
        if following <= sys.maxunicode:
            return prefix[: length - 1] + chr(following)
    return None
