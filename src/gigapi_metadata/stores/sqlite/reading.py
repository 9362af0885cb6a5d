"""Queries: the files of a window, one file, the folders there are.

Every function runs in a transaction that the caller has opened.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

from gigapi_metadata.stores.base import Selection, TableRef
from gigapi_metadata.stores.sqlite.connection import Database
from gigapi_metadata.stores.sqlite.rows import COLUMNS, split_path
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
    for place, bounds in _places(db, table_id, selection):
        query = f"SELECT {_ROW} FROM files WHERE table_id = ? AND {place}{condition}"
        rows += db.execute(query, (table_id, *bounds, *values))
    return rows


_Condition = tuple[str, list[Any]]
"""SQL, and the values in it."""


def _places(db: sqlite3.Connection, table_id: int, selection: Selection) -> list[_Condition]:
    """Where in one of the two orders the rows lie that may match; no row lies in two places."""
    window, folder = selection.window, selection.folder
    if not window.unbounded:
        found = spans(db, table_id)
        condition = "span = ? AND min_time BETWEEN ? AND ? AND max_time >= ?"
        if folder:
            condition += " AND substr(iif(dir = '', name, dir || '/' || name), 1, ?) = ?"
        return [(condition, _bounds(window, span, folder)) for span in found]
    if not folder:
        return [("1", [])]
    parent, slash, begin = folder.rpartition("/")
    places = [_begins("dir", folder)]
    if parent or not slash:  # no path begins with a slash
        condition, values = _begins("name", begin) if begin else ("1", [])
        places.append((f"dir = ? AND {condition}", [parent, *values]))
    return places


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
