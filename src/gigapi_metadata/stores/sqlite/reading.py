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
    """The rows that match, each once. With a window, the cost follows the files found."""
    table_id = db.table_id(table)
    if table_id is None:
        return []
    window = selection.window
    condition, values = _filters(selection)
    if window.unbounded:
        return db.execute(
            f"SELECT {_ROW} FROM files WHERE table_id = ? {condition}", (table_id, *values)
        ).fetchall()
    rows: list[tuple[Any, ...]] = []
    for span in spans(db, table_id):
        rows += db.execute(
            f"""SELECT {_ROW} FROM files
                WHERE table_id = ? AND span = ? AND min_time BETWEEN ? AND ? AND max_time >= ?
                {condition}""",
            (table_id, span, _earliest(window, span), window.before, window.after, *values),
        ).fetchall()
    return rows


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


def _earliest(window: Window, span: int) -> int:
    """The first min_time that a file of `span` overlapping `window` can have."""
    return max(window.after - (1 << span) + 1, INT64_MIN)


def _filters(selection: Selection) -> tuple[str, list[object]]:
    """The conditions beside the window, as SQL to append and its values."""
    conditions: list[str] = []
    values: list[object] = []
    if selection.folder:
        condition, bounds = _in_folder(selection.folder, by_path=selection.window.unbounded)
        conditions.append(condition)
        values += bounds
    if selection.iteration:
        conditions.append("substr(name, ?) = ?")
        values += [-len(selection.suffix), selection.suffix]
    if selection.layer is not None:
        conditions.append("layer = ?")
        values.append(selection.layer)
    return "".join(f" AND {condition}" for condition in conditions), values


def _in_folder(prefix: str, by_path: bool) -> tuple[str, list[object]]:
    """Whether a path begins with `prefix`: its dir does, or the prefix reaches into its name.

    by_path: look the dirs up; else the window decides which rows are read.
    """
    dir = "dir" if by_path else "+dir"
    condition, values = _begins(dir, prefix)
    folder, slash, begin = prefix.rpartition("/")
    if folder or not slash:  # no path begins with a slash
        in_name, bounds = _begins("name", begin) if begin else ("1", [])
        condition = f"({condition} OR ({dir} = ? AND {in_name}))"
        values += [folder, *bounds]
    return condition, values


def _begins(column: str, prefix: str) -> tuple[str, list[object]]:
    end = _end_of_prefix(prefix)
    if end is None:
        return f"{column} >= ?", [prefix]
    return f"({column} >= ? AND {column} < ?)", [prefix, end]


def _end_of_prefix(prefix: str) -> str | None:
    """The first text after all that begin with `prefix`, as SQLite sorts; None if there is none."""
    for length in range(len(prefix), 0, -1):
        following = ord(prefix[length - 1]) + 1
        if following == 0xD800:
            following = 0xE000  # there are no characters in between
        if following <= sys.maxunicode:
            return prefix[: length - 1] + chr(following)
    return None
