"""What the columns of files are, remembered: files of one path and size never change.

Whether files have the same columns decides how they are read: only those that differ must be
brought together by the names of their columns, for which DuckDB reads every footer first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

from gigapi_metadata.model import TIME_COLUMNS, IndexEntry

DAY_NS = 86_400 * 10**9

KEPT_S = 60
"""How long something is taken for true of a table because it was of one of its files."""

_KNOWN_FILES = 500_000
_KNOWN_TABLES = 10_000

# One line a file; equal for files of the same columns.
_FINGERPRINTS = """\
SELECT file_name, sum(hash(concat_ws(chr(0), column_id, name, duckdb_type, type, logical_type,
                                     num_children))::HUGEINT)::VARCHAR
FROM parquet_schema(?) GROUP BY file_name"""


class DataFile(NamedTuple):
    """A file as DuckDB is to call it, and its entry."""

    name: str
    entry: IndexEntry


class TimeColumn(NamedTuple):
    """A table's time column, which `min_time` and `max_time` of its entries are of; its name is ""
    when it is none of those that there are."""

    name: str
    type: str


class Schemas:
    """What is known of files. Safe to share between threads."""

    def __init__(self) -> None:
        self._fingerprints: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._columns: dict[tuple[str, int], dict[str, str]] = {}
        self._samples: dict[tuple[tuple[str, str], int], list[DataFile]] = {}
        self._times: dict[tuple[str, str], TimeColumn] = {}
        self._since = time.monotonic()
        self._lock = Lock()

    def fingerprints(self, connection: Any, files: Sequence[DataFile]) -> list[str]:
        """For each file a text that is the same for files whose columns are of the same names and
        types in the same order. Footers are read of those that are not known yet."""
        with self._lock:
            known = {file.name: self._fingerprints.get(_key(file)) for file in files}
        unknown = [file for file in files if known[file.name] is None]
        if unknown:
            names = [pattern(file.name) for file in unknown]
            found = dict(connection.execute(_FINGERPRINTS, [names]).fetchall())
            with self._lock:
                for file in unknown:
                    # A file that DuckDB does not report by this name is like no other.
                    known[file.name] = self._fingerprints[_key(file)] = found.get(
                        file.name, file.name
                    )
                while len(self._fingerprints) > _KNOWN_FILES:
                    self._fingerprints.popitem(last=False)
        return [known[file.name] or "" for file in files]

    def columns(self, connection: Any, file: DataFile) -> dict[str, str]:
        """The file's columns and their types in DuckDB, in order."""
        key = _key(file)
        found = self._columns.get(key)
        if found is None:
            rows = connection.execute(
                "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)",
                [[pattern(file.name)]],
            ).fetchall()
            found = {row[0]: row[1] for row in rows}
            with self._lock:
                if len(self._columns) > _KNOWN_TABLES:
                    self._columns.clear()
                self._columns[key] = found
        return found

    def samples(self, table: tuple[str, str], folders: int) -> list[DataFile] | None:
        """What `keep_samples` was given; None when there is nothing, or it is too old."""
        if time.monotonic() - self._since > KEPT_S:
            self.forget()
        return self._samples.get((table, folders))

    def keep_samples(self, table: tuple[str, str], folders: int, files: list[DataFile]) -> None:
        """Remember files that stand for all of a table, by how many folders they are from."""
        with self._lock:
            self._samples[table, folders] = files

    def forget(self) -> None:
        """Forget what is known of tables: files come and go."""
        with self._lock:
            self._samples.clear()
            self._times.clear()
            self._since = time.monotonic()

    def known_time_column(self, table: tuple[str, str]) -> TimeColumn | None:
        """What `time_column` found before; None when it was not asked."""
        return self._times.get(table)

    def time_column(self, connection: Any, table: tuple[str, str], file: DataFile) -> TimeColumn:
        """The column that the table's entries have their times of; `file` is any of its files. It
        is the first of TIME_COLUMNS whose values agree with the entry. A table is taken to have
        one, so this is found out once."""
        columns = self.columns(connection, file)
        found = TimeColumn("", "")
        for name in TIME_COLUMNS:
            if name in columns and _agrees(connection, file, TimeColumn(name, columns[name])):
                found = TimeColumn(name, columns[name])
                break
        with self._lock:
            self._times[table] = found
        return found


def _key(file: DataFile) -> tuple[str, int]:
    return file.name, file.entry.size_bytes


def _agrees(connection: Any, file: DataFile, column: TimeColumn) -> bool:
    """Whether the column's first and last value are the entry's times."""
    entry = file.entry
    low, high = ((stats or {}).get(column.name) for stats in (entry.min_data, entry.max_data))
    if column.type == "BIGINT" and (low, high) == (entry.min_time, entry.max_time):
        return True
    value = f'"{column.name}"'
    if column.type not in ("BIGINT", "UBIGINT"):
        if not column.type.startswith(("TIMESTAMP", "DATE")):
            return False
        value = f"epoch_ns({value})"
    try:
        low, high = connection.execute(
            f"SELECT min({value}), max({value}) FROM read_parquet(?, hive_partitioning = false)",
            [[pattern(file.name)]],
        ).fetchall()[0]
    except Exception as fault:
        if "Out of Range" in str(fault) or "Conversion" in str(fault):
            return False
        raise
    if low is None:
        return False
    if column.type == "DATE":
        high += DAY_NS - 1
    return (low, high) == (entry.min_time, entry.max_time)


_SPECIAL = frozenset("*?[")


def is_special(name: str) -> bool:
    """Whether DuckDB takes a name for a pattern."""
    return not _SPECIAL.isdisjoint(name)


def pattern(name: str) -> str:
    """A file's name such that DuckDB takes it literally, whatever characters are in it."""
    if is_special(name) and name.startswith("/"):
        return "".join(f"[{char}]" if char in _SPECIAL else char for char in name)
    return name
