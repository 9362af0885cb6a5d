"""A lake with tables of many kinds, and the same SQL asked of its files directly."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gigapi_metadata import Catalog, IndexEntry
from gigapi_metadata.sql import Relation

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
DAY = 1_705_276_800 * SECOND  # 2024-01-15T00:00:00Z
HOURS = 12


def write(folder: Path, hour: int, name: str, table: pa.Table) -> Path:
    file = folder / f"date=2024-01-15/hour={hour:02}/{name}.1.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file


def register(
    catalog: Catalog,
    folder: Path,
    database: str,
    table: str,
    layer: str = "",
    time_column: str | None = None,
) -> list[IndexEntry]:
    """Register every file below a table's data folder."""
    entries = [
        IndexEntry.from_parquet(
            file,
            root=folder,
            database=database,
            table=table,
            layer=layer,
            time_column=time_column,
        )
        for file in sorted(folder.rglob("*.parquet"))
    ]
    catalog.table(database, table).batch(entries)
    return entries


def fill(root: Path, catalog: Catalog) -> None:
    """Tables: db.t (int64 nanoseconds, two files an hour), db.u (timestamps, a column that only
    later files have), db.strange (every file has other columns), "My DB"."Odd Table" (odd names,
    widening types), other.w (with a zone), other.t (as db.t), other.days (dates)."""
    dice = random.Random(7)
    for hour in range(HOURS):
        for half in range(2):
            start = DAY + hour * HOUR + half * HOUR // 2
            _readings(root / "db/t/data", hour, half, start, dice)
        _levels(root / "db/u/data", hour, dice)
        if hour < 6:
            _strange(root / "db/strange/data", hour)
        _odd(root / "My DB/Odd Table/data", hour)
        _zoned(root / "other/w/data", hour)
        if hour < 3:
            _readings(root / "other/t/data", hour, 0, DAY + hour * HOUR, dice)
            day = dt.date(2024, 1, 15) + dt.timedelta(hour)
            write(root / "other/days/data", hour, "d", pa.table({"time": [day], "v": [hour]}))
    for data in sorted(root.glob("*/*/data")):
        register(catalog, data, data.parent.parent.name, data.parent.name)


def _readings(folder: Path, hour: int, half: int, start: int, dice: random.Random) -> None:
    rows = 20
    columns = {
        "__timestamp": pa.array([start + row * MINUTE for row in range(rows)], pa.int64()),
        "sensor": [f"s{row % 4}" for row in range(rows)],
        "temp": [None if dice.random() < 0.1 else hour + dice.random() * 2 for _ in range(rows)],
        "n": pa.array([hour * 100 + half * 50 + row for row in range(rows)], pa.int32()),
        "place": [{"room": f"r{hour}", "floor": half} for _ in range(rows)],
    }
    write(folder, hour, f"{half}", pa.table(columns))


def _levels(folder: Path, hour: int, dice: random.Random) -> None:
    start, rows = DAY + hour * HOUR, 15
    columns: dict[str, Any] = {
        "time": pa.array(
            [(start + row * MINUTE) // 1000 for row in range(rows)], pa.timestamp("us")
        ),
        "sensor": [f"s{row % 6}" for row in range(rows)],
        "level": [hour * 10 + row for row in range(rows)],
        "n": pa.array([hour * 100 + dice.randrange(70) for _ in range(rows)], pa.int32()),
    }
    if hour >= 6:
        columns["extra"] = [f"x{row}" for row in range(rows)]
    write(folder, hour, "u", pa.table(columns))


def _odd(folder: Path, hour: int) -> None:
    start = DAY + hour * HOUR
    value: pa.Array = pa.array([hour, hour + 1], pa.int32() if hour % 2 else pa.float64())
    columns = {
        "time": pa.array([start, start + MINUTE], pa.timestamp("ns")),
        "Value": value,
        'a "b"': [f"it's {hour}", None],
        "date": ["not a folder", "really"],
    }
    if hour == 5:
        columns["only here"] = [True, False]
    write(folder, hour, "o'x *[1]?", pa.table(columns))


def _strange(folder: Path, hour: int) -> None:
    start = (DAY + hour * HOUR) // 1000
    kinds = pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(10, 2), pa.int16()
    value = Decimal("4.25") if hour == 4 else hour
    columns: dict[str, Any] = {
        "time": pa.array([start, start + 5], pa.timestamp("us", "UTC")),
        "v": pa.array([value, None], kinds[hour]),
    }
    columns |= [
        {},
        {"x": [7, 8], "V2": ["a", "b"]},
        {"X": [1, 2]},
        {"V2": ["a", "b"], "place": [{"a": 1}, {"a": 2}]},
        {"place": [{"a": 1, "b": "x"}, None]},
        {"V2": ["a", "b"], "nothing": pa.nulls(2)},
    ][hour]
    write(folder, hour, "s", pa.table(dict(reversed(columns.items())) if hour % 2 else columns))


def _zoned(folder: Path, hour: int) -> None:
    start = DAY + hour * HOUR
    times = [start + 1, start + 2, start + 3]
    columns = {"ts": pa.array(times, pa.timestamp("ns", "Europe/Berlin")), "v": [1, 2, hour]}
    write(folder, hour, "w", pa.table(columns))


class BruteForce:
    """Every file of every table, as views of the same names."""

    def __init__(self, root: Path) -> None:
        self.connection = duckdb.connect()
        for data in sorted(root.glob("*/*/data")):
            database, table = data.parent.parent.name, data.parent.name
            self.connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{database}"').fetchall()
            self.connection.execute(
                f'CREATE VIEW "{database}"."{table}" AS SELECT * FROM read_parquet('
                f"'{data}/**/*.parquet', union_by_name = true, hive_partitioning = false)"
            ).fetchall()
        databases = "db,My DB,other".replace("My DB", '"My DB"')
        self.connection.execute(f"SET search_path = '{databases}'").fetchall()

    def rows(self, query: str) -> tuple[list[str], list[str], list[Any]]:
        return answer(self.connection.sql(query), query)


def answer(relation: Any, query: str) -> tuple[list[str], list[str], list[Any]]:
    """Names, types and rows; in order if the query says which."""
    rows = relation.fetchall()
    if not re.search(r"order by [^()]*\Z", query.lower()):  # one in OVER (…) orders no rows
        rows = sorted(rows, key=repr)
    return list(relation.columns), [str(each) for each in relation.types], rows


def files_read(relation: Relation) -> list[int]:
    """How many files of each mention of a table are read."""
    return [len(each.files) for each in relation.plan.tables]


def spoil(files: Iterable[Path]) -> None:
    """Make files unreadable, in place, so that whoever opens one fails."""
    for file in files:
        file.write_bytes(b"no Parquet at all")
