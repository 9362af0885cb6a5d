"""What a review of the SQLite store found: foreign files, big removals, tables that are not there,
damaged statistics."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fix_stores import entry as numbered_entry

from gigapi_metadata import (
    Conflict,
    CorruptState,
    DropPlan,
    IndexEntry,
    Layer,
    LeaseLost,
    MergePlan,
    MovePlan,
    SQLiteConnection,
    SQLiteDBIndex,
    SQLiteIndex,
    SQLiteKVStore,
)

LAYERS = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold")]
MERGE = MergePlan("id", "db", "t", "", "", 1, ["a.1.parquet"], "b.2.parquet", 1)
MOVE = MovePlan("id", "db", "t", "", "a.1.parquet", "", "b.1.parquet", "cold", 1)
DROP = DropPlan("id", "db", "t", "", "", "a.1.parquet", 1, 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


def entry(path: str, **changes: Any) -> IndexEntry:
    return numbered_entry(path=path, **changes)


def table_of(file: Path, **options: Any) -> SQLiteIndex:
    return SQLiteIndex(SQLiteConnection(file), "db", "t", **options)


READS: list[Callable[[Path], object]] = [
    lambda file: table_of(file).get("a.parquet"),
    lambda file: table_of(file).query(),
    lambda file: table_of(file).plans(),
    lambda file: SQLiteDBIndex(SQLiteConnection(file)).databases(),
    lambda file: SQLiteKVStore(SQLiteConnection(file)).get("key"),
]
WRITES: list[Callable[[Path], object]] = [
    lambda file: table_of(file).batch([entry("a.parquet")]),
    lambda file: SQLiteKVStore(SQLiteConnection(file)).put("key", b""),
    lambda file: table_of(file).get_drop_queue("", ""),
]


class TestFilesOfOthers:
    @pytest.mark.parametrize("use", [*READS, *WRITES])
    @pytest.mark.parametrize(
        "script",
        [
            "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)",
            "CREATE TABLE theirs (x); PRAGMA user_version = 1",
            "PRAGMA user_version = 7",
            "PRAGMA application_id = 7",
        ],
    )
    def test_stay_as_they_are(self, file: Path, script: str, use: Callable[[Path], object]) -> None:
        with closing(sqlite3.connect(file)) as theirs:
            theirs.executescript(script)
        before = file.read_bytes()
        with pytest.raises(CorruptState, match="not a catalog"):
            use(file)
        assert file.read_bytes() == before
        assert [each.name for each in file.parent.iterdir()] == [file.name]

    @pytest.mark.parametrize("read", READS)
    @pytest.mark.parametrize("script", [None, "VACUUM"])
    def test_an_empty_one_reads_as_an_empty_catalog(
        self, file: Path, script: str | None, read: Callable[[Path], object]
    ) -> None:
        file.touch()
        if script is not None:
            with closing(sqlite3.connect(file)) as theirs:
                theirs.executescript(script)
        before = file.read_bytes()
        assert not read(file)
        assert file.read_bytes() == before
        assert [each.name for each in file.parent.iterdir()] == [file.name]

    def test_an_empty_one_becomes_a_catalog_with_the_first_write(self, file: Path) -> None:
        file.touch()
        index = table_of(file)
        assert index.query() == []
        index.batch([entry("a.parquet")])
        assert len(index.query()) == 1
        assert len(table_of(file).query()) == 1

    def test_a_catalog_whose_making_was_cut_short_is_made(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as begun:
            begun.execute("PRAGMA journal_mode = WAL")
        assert file.stat().st_size > 0
        assert table_of(file).query() == []
        table_of(file).batch([entry("a.parquet")])
        assert len(table_of(file).query()) == 1


class TestBigRemovals:
    def test_the_drops_come_in_order_for_each_layer_and_writer(self, file: Path) -> None:
        index = table_of(file, layers=LAYERS, merge_configurations=[], drop_grace_s=0)
        entries = [
            entry(
                f"date={number % 3}/{number:03}.1.parquet",
                layer=("hot", "cold")[number % 2],
                writer_id=("", "w")[number // 2 % 2],
            )
            for number in range(100)
        ]
        index.batch(entries)
        assert index.paths() == ["date=0", "date=1", "date=2"]
        kept = [each for each in entries if each.path.startswith("date=1")][-1]
        index.batch((), [each for each in entries[:40] if each != kept])
        index.batch((), [each for each in entries[40:] if each != kept])
        assert index.paths() == ["date=1"]
        drops = [plan for plan in index.plans() if plan.kind == "drop"]
        assert len(drops) == 99
        assert len({plan.id for plan in drops}) == 99
        for layer in ("hot", "cold"):
            for writer in ("", "w"):
                expected = [
                    each.path
                    for each in entries
                    if (each.layer, each.writer_id) == (layer, writer) and each != kept
                ]
                queued = [
                    plan.paths[0]
                    for plan in drops
                    if (plan.layer, plan.writer_id) == (layer, writer)
                ]
                assert queued == expected
                taken = []
                while (plan := index.get_drop_queue(writer, layer)) is not None:
                    taken.append(plan.path)
                assert taken == expected

    def test_under_a_plan_it_is_all_or_nothing(self, file: Path) -> None:
        index = table_of(file, merge_configurations=[[0, 10**9, 1]])
        index.batch([entry(f"d/{number}.1.parquet") for number in range(5)])
        plan = index.get_merge_plan("", "", 1)
        assert plan is not None
        index.batch((), ["d/4.1.parquet"])
        paths, plans = index.paths(), index.plans()
        with pytest.raises(Conflict, match=r"4\.1\.parquet"):
            index.complete_merge(plan, entry(plan.path_to))
        assert len(index.query()) == 4
        assert (index.paths(), index.plans()) == (paths, plans)

    def test_one_read_of_the_queue_is_enough(self, file: Path) -> None:
        connection = SQLiteConnection(file)
        index = SQLiteIndex(connection, "db", "t", merge_configurations=[])
        index.batch([entry(f"d/{number}.1.parquet") for number in range(200)])
        statements: list[str] = []
        connection._idle[0].set_trace_callback(statements.append)
        index.batch((), [f"d/{number}.1.parquet" for number in range(200)])
        assert sum("max(position)" in each for each in statements) == 1


@pytest.mark.parametrize("others", [False, True], ids=["no file", "another table"])
class TestTablesThatAreNotThere:
    @pytest.fixture(autouse=True)
    def catalog(self, file: Path, others: bool) -> None:
        if others:
            SQLiteIndex(SQLiteConnection(file), "db", "other").batch(
                [entry("a.parquet", table="other")]
            )

    def check_untouched(self, file: Path, others: bool) -> None:
        if not others:
            assert list(file.parent.iterdir()) == []
            return
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("SELECT name FROM tables").fetchall() == [("other",)]

    def test_have_no_plans(self, file: Path, others: bool) -> None:
        index = table_of(file, layers=LAYERS)
        assert index.get_merge_plan("", "hot", 1) is None
        assert index.get_move_plan("", "hot") is None
        assert index.get_drop_queue("", "hot") is None
        self.check_untouched(file, others)

    def test_lease_nothing(self, file: Path, others: bool) -> None:
        index = table_of(file)
        for plan in (MERGE, MOVE, DROP):
            with pytest.raises(LeaseLost):
                index.renew(plan)
            with pytest.raises(LeaseLost):
                index.release(plan)
        with pytest.raises(LeaseLost):
            index.end_merge(MERGE)
        with pytest.raises(LeaseLost):
            index.complete_merge(MERGE, entry(MERGE.path_to))
        self.check_untouched(file, others)

    def test_hold_nothing_to_remove(self, file: Path, others: bool) -> None:
        table_of(file).batch((), ["a.parquet"])
        self.check_untouched(file, others)


class TestDamagedStatistics:
    @pytest.mark.parametrize("column", ["min_data", "max_data"])
    @pytest.mark.parametrize("value", ["{", "", "[1]", 5, b"\xff", b'{"a": "\xff"}'])
    def test_are_an_error_that_says_where(self, file: Path, column: str, value: object) -> None:
        index = table_of(file)
        index.batch([msgspec.structs.replace(entry("a.parquet"), min_data={"x": 1}, max_data={})])
        with closing(sqlite3.connect(file)) as db, db:
            db.execute(f"UPDATE files SET {column} = ?", (value,))
        for read in (index.query, index.get_all, lambda: index.get("a.parquet")):
            with pytest.raises(CorruptState, match=r"'a\.parquet' in db\.t"):
                read()
