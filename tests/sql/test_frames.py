"""A table's rows as frames: exact bounds, whatever type the time column has."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from fix_stores import Backend
from sql_lab import DAY, HOUR, MINUTE, SECOND, BruteForce, register, write

from gigapi_metadata import (
    Catalog,
    IndexEntry,
    InvalidCondition,
    Layer,
    MissingExtra,
    QueryFailed,
    SQLiteIndex,
    connect,
    connect_async,
)

START = DAY + 7
UNITS = {"s": SECOND, "ms": 10**6, "us": 1000, "ns": 1}
TYPES = [
    *(pa.timestamp(unit, zone) for unit in UNITS for zone in (None, "UTC", "Asia/Tokyo")),
    pa.int64(),
    pa.uint64(),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_bounds_are_inclusive_and_exact(tmp_path: Path, kind: pa.DataType) -> None:
    unit = UNITS[kind.unit] if pa.types.is_timestamp(kind) else 1
    ticks = [START // unit + tick for tick in (-2, -1, 0, 1, 2, 3)]
    times = pa.array(ticks, pa.int64()).cast(kind)
    write(tmp_path / "db/t/data", 0, "a", pa.table({"time": times, "n": range(6)}))
    with connect(tmp_path) as catalog:
        register(catalog, tmp_path / "db/t/data", "db", "t")
        table = catalog.table("db", "t")
        for first in range(-3, 5):
            for shift in (-1, 0, 1):
                after = (START // unit + first) * unit + shift
                for before in (after - 1, after, after + unit, after + 2 * unit - 1):
                    expected = [n for n, tick in enumerate(ticks) if after <= tick * unit <= before]
                    found = table.to_arrow(after=after, before=before, columns=["n"])
                    assert found["n"].to_pylist() == expected, (after, before)


def test_dates_count_as_whole_days(catalog: Catalog) -> None:
    days = catalog.table("other", "days")
    noon = datetime(2024, 1, 16, 12, tzinfo=UTC)
    assert days.to_arrow(after=noon, before=noon)["v"].to_pylist() == [1]


def test_every_kind_of_frame(catalog: Catalog, direct: BruteForce) -> None:
    after = datetime(2024, 1, 15, 5, 0, tzinfo=timezone(timedelta(hours=2)))
    asked = {
        "after": after,
        "before": DAY + 4 * HOUR,
        "columns": ["n", "sensor"],
        "where": "temp > 3.5 AND sensor <> 's1'",
    }
    rows = direct.rows(
        f"SELECT n, sensor FROM db.t WHERE __timestamp >= {DAY + 3 * HOUR} "
        f"AND __timestamp <= {DAY + 4 * HOUR} AND temp > 3.5 AND sensor <> 's1'"
    )[2]
    table = catalog.table("db", "t")
    assert rows
    assert sorted(table.to_duckdb(**asked).fetchall()) == rows
    assert sorted(map(tuple, table.to_pandas(**asked).itertuples(index=False))) == rows
    assert sorted(table.to_polars(**asked).rows()) == rows
    assert sorted(tuple(row.values()) for row in table.to_arrow(**asked).to_pylist()) == rows
    scanned = table.to_duckdb(**asked).plan.tables[0]
    assert len(scanned.files) == 3


WHERE = [
    ("n < 20", [("n", "<", 20)]),
    ("n = 5 OR n = 310", [[("n", "=", 5)], [("n", "==", 310)]]),
    ("n IN (5, 310)", ("n", "in", [5, 310])),
    ("n NOT IN (5) AND n < 9", [("n", "not in", (5,)), ("n", "<", 9)]),
    ("temp IS NULL", ("temp", "is", None)),
    ("temp IS NOT NULL AND sensor = 's2'", [("temp", "is not", None), ("sensor", "=", "s2")]),
    ("false", ("n", "in", [])),
    ("true", ("n", "not in", [])),
    ("temp > 3.25", ("temp", ">", 3.25)),
    ("sensor = 'it''s'", ("sensor", "=", "it's")),
    ("false", ("n", "=", None)),
]


@pytest.mark.parametrize(("sql", "where"), WHERE, ids=[sql for sql, _ in WHERE])
def test_conditions(catalog: Catalog, direct: BruteForce, sql: str, where: object) -> None:
    table = catalog.table("db", "t")
    expected = direct.rows(f"SELECT n FROM db.t WHERE {sql}")[2]
    for given in (sql, where):
        found = table.to_duckdb(columns=["n"], where=given).fetchall()  # type: ignore[arg-type]
        assert sorted(found, key=repr) == expected


def test_times_in_conditions(catalog: Catalog) -> None:
    moment = datetime(2024, 1, 15, 3, 0, tzinfo=UTC)
    for given in (("time", "<", moment), "time < '2024-01-15 03:00'"):
        found = catalog.table("db", "u").to_duckdb(where=given)
        assert len(found.plan.tables[0].files) == 3
        assert len(found.fetchall()) == 45


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"where": "n <"}, InvalidCondition),
        ({"where": "1=1) OR (1=1"}, InvalidCondition),
        ({"where": "1=1; DROP TABLE x"}, InvalidCondition),
        ({"where": "n IN (SELECT 1 FROM read_csv('/etc/passwd'))"}, QueryFailed),
        ({"where": ("n", "~~", 1)}, InvalidCondition),
        ({"where": "nope = 1"}, QueryFailed),
        ({"columns": ["nope"]}, QueryFailed),
        ({"columns": []}, QueryFailed),
        ({"columns": "n"}, QueryFailed),
        ({"columns": ['n" FROM x --']}, QueryFailed),
        ({"time_column": "nope", "after": 1}, QueryFailed),
        ({"after": "2024"}, TypeError),
    ],
)
def test_what_makes_no_sense(catalog: Catalog, asked: dict[str, object], error: type) -> None:
    with pytest.raises(error):
        catalog.table("db", "t").to_arrow(**asked)  # type: ignore[arg-type]


def test_an_empty_table_and_an_empty_window(catalog: Catalog) -> None:
    with pytest.raises(QueryFailed, match=r"db\.none holds no files"):
        catalog.table("db", "none").to_arrow()
    found = catalog.table("db", "u").to_arrow(after=DAY - 10, before=DAY - 5)
    assert (found.num_rows, found.column_names[-1]) == (0, "extra")


def test_a_time_column_of_another_name(tmp_path: Path) -> None:
    """Entries have their times of `event`; `time` is something else and must not be pruned by."""
    data = tmp_path / "db/t/data"
    for hour in range(3):
        event = pa.array([DAY + hour * HOUR, DAY + hour * HOUR + MINUTE], pa.int64())
        other = pa.array([DAY + 9 * HOUR, DAY - hour * HOUR], pa.int64())
        write(data, hour, "a", pa.table({"event": event, "time": other, "n": [hour, hour]}))
    with connect(tmp_path) as catalog:
        register(catalog, data, "db", "t", time_column="event")
        table = catalog.table("db", "t")
        late = f"SELECT n FROM db.t WHERE time > {DAY + 8 * HOUR} ORDER BY n"
        assert catalog.sql(late).fetchall() == [(0,), (1,), (2,)]
        asked = {"after": DAY + HOUR, "before": DAY + HOUR + MINUTE}
        with pytest.raises(QueryFailed, match="time_column"):
            table.to_arrow(**asked)
        found = table.to_duckdb(**asked, time_column="event")
        assert found.project("n").fetchall() == [(1,), (1,)]
        assert len(found.plan.tables[0].files) == 1


def test_an_index_of_its_own(lake: Path) -> None:
    with SQLiteIndex(lake / ".gigapi/catalog.db", "db", "t") as index:
        index.root = str(lake)
        assert index.to_arrow(columns=["n"], where="n < 3")["n"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_a_library_that_is_missing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    from gigapi_metadata.index import base

    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=f"pip install {library}"):
        getattr(catalog.table("db", "t"), f"to_{library}")()


def test_duckdb_is_missing(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gigapi_metadata.sql.engine import Engine

    real = builtins.__import__

    def refuse(name: str, *args: object, **options: object) -> object:
        if name == "duckdb":
            raise ImportError(name)
        return real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra, match=r"pip install 'gigapi-metadata\[sql\]'"):
        Engine((), str(lake)).connect()


async def _asked(lake: Path) -> None:
    async with connect_async(lake) as catalog:
        found = await catalog.sql("SELECT count(*) AS c FROM t1 WHERE n < 20".replace("t1", "db.t"))
        assert found.to_pylist() == [{"c": 20}]
        with pytest.raises(QueryFailed):
            await catalog.sql("SELECT * FROM t")
        table = catalog.table("db", "t")
        arrow = await table.to_arrow(after=DAY + HOUR, before=DAY + HOUR, columns=["n"])
        assert arrow["n"].to_pylist() == [100]
        assert (await table.to_polars(where="n < 3")).height == 3
        assert len(await table.to_pandas(where="n < 3")) == 3


def test_asyncio(lake: Path) -> None:
    import asyncio

    asyncio.run(_asked(lake))


def test_every_store(backend: Backend, tmp_path: Path) -> None:
    """Blocking and awaited, over a table without a catalog."""
    backend.fresh()
    index = backend.index("db", "t", [Layer(str(tmp_path / "hot"), "hot")])
    data = tmp_path / "hot/db/t/data"
    entries = []
    for hour in range(3):
        times = pa.array([DAY + hour * HOUR, DAY + hour * HOUR + 1], pa.int64())
        file = write(data, hour, "a", pa.table({"time": times, "n": [hour, hour + 10]}))
        entries.append(
            IndexEntry.from_parquet(file, root=data, database="db", table="t", layer="hot")
        )
    index.batch(entries)
    found = index.to_arrow(after=DAY + 1, before=DAY + HOUR, columns=["n"], where="n <> 0")
    assert found["n"].to_pylist() == [10, 1]
