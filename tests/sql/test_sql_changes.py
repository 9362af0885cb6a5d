"""Files come and go under a query."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from sql_lab import DAY, HOUR, SECOND, fill, register, write

from gigapi_metadata import Catalog, FileMissing, IndexEntry, QueryFailed, connect


@pytest.fixture
def changing(tmp_path: Path) -> Catalog:
    data = tmp_path / "db/t/data"
    for number in range(4):
        write(data, 0, f"f{number}", _rows(number))
    catalog = connect(tmp_path)
    register(catalog, data, "db", "t")
    return catalog


def _rows(*numbers: int) -> pa.Table:
    times = pa.array([DAY + number * SECOND for number in numbers], pa.int64())
    return pa.table({"time": times, "n": list(numbers)})


def merge(catalog: Catalog, root: Path, name: str = "merged") -> None:
    """What a worker does, and the deletion of what it has merged."""
    table = catalog.table("db", "t")
    sources = table.get_all()
    data = root / "db/t/data"
    file = write(data, 0, name, _rows(0, 1, 2, 3))
    entry = IndexEntry.from_parquet(file, root=data, database="db", table="t")
    table.batch([entry], sources)
    for source in sources:
        (data / source.path).unlink()


TOTAL = "SELECT count(*), sum(n) FROM db.t"


def test_merged_between_planning_and_reading(changing: Catalog, tmp_path: Path) -> None:
    relation = changing.sql(TOTAL)
    narrowed = relation.project("#1 AS c").filter("c > 0")
    merge(changing, tmp_path)
    assert narrowed.fetchall() == [(4,)]
    assert relation.fetchall() == [(4, 6)]
    merge(changing, tmp_path, "again")
    assert relation.to_arrow_table().to_pylist()[0]["count_star()"] == 4
    assert [len(each.files) for each in relation.plan.tables] == [1]


def test_merged_while_it_is_planned(
    changing: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gigapi_metadata.sql import plan

    located, seen = plan.locate, []

    def slow(engine: object, entries: list[IndexEntry]) -> object:
        if not seen:
            seen.append(1)
            merge(changing, tmp_path)
        return located(engine, entries)  # type: ignore[arg-type]

    monkeypatch.setattr(plan, "locate", slow)
    assert changing.sql(TOTAL).fetchall() == [(4, 6)]


def test_a_file_that_is_really_missing(changing: Catalog, tmp_path: Path) -> None:
    relation = changing.sql(TOTAL)
    next((tmp_path / "db/t/data").rglob("f1*")).unlink()
    for attempt in (relation.fetchall, lambda: changing.sql(TOTAL)):
        with pytest.raises(FileMissing, match=r"f1\.1\.parquet"):
            attempt()


def test_the_last_file_goes(changing: Catalog) -> None:
    relation = changing.sql(TOTAL)
    table = changing.table("db", "t")
    table.batch(None, table.get_all())
    with pytest.raises(QueryFailed, match=r"no table db\.t"):
        changing.sql(TOTAL)
    assert relation.fetchall() == [(4, 6)]  # its files are there for a while


def test_a_column_that_appears_later(changing: Catalog, tmp_path: Path) -> None:
    assert changing.sql(f"SELECT * FROM db.t WHERE time < {DAY + SECOND}").columns == ["time", "n"]
    table = _rows(9).append_column("new", pa.array([1.5]))
    write(tmp_path / "db/t/data", 1, "late", table)
    register(changing, tmp_path / "db/t/data", "db", "t")
    query = f"SELECT new FROM db.t WHERE time < {DAY + SECOND}"
    from gigapi_metadata.sql.engine import engine_for

    engine_for(changing).schemas.forget()
    assert changing.sql(query).fetchall() == [(None,)]


def test_many_threads_while_a_worker_merges(tmp_path: Path) -> None:
    with connect(tmp_path) as catalog:
        fill(tmp_path, catalog)
        wrong: list[object] = []
        asked = [0, 0, 0]
        done = threading.Event()

        def ask(number: int) -> None:
            while not done.is_set():
                asked[number] += 1
                try:
                    rows = catalog.sql(
                        f"SELECT count(*), sum(n) FROM db.t WHERE __timestamp < {DAY + 4 * HOUR}"
                    ).fetchall()
                    if rows != [(160, 29_520)]:
                        wrong.append(rows)
                except Exception as fault:
                    wrong.append(fault)

        def one_more_each() -> None:
            before = list(asked)
            while any(now < then + 2 for now, then in zip(asked, before, strict=True)):
                done.wait(0.01)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        table, data = catalog.table("db", "t"), tmp_path / "db/t/data"
        for hour in range(3):
            folder = f"date=2024-01-15/hour={hour:02}"
            sources = table.query(folder=f"{folder}/")
            rows = pa.concat_tables(
                [pa.parquet.read_table(data / each.path, partitioning=None) for each in sources]
            )
            file = write(data, hour, "merged", rows)
            table.batch(
                [IndexEntry.from_parquet(file, root=data, database="db", table="t")], sources
            )
            for source in sources:
                (data / source.path).unlink()
            one_more_each()  # a query meets one merge at most: it is planned anew once
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong
