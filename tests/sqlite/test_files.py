"""The catalog's file: made when needed, in WAL mode, and never mistaken for somebody else's."""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fix_stores import entry, path_of

from gigapi_metadata import (
    CorruptState,
    InvalidConfiguration,
    MetadataError,
    SQLiteDBIndex,
    SQLiteIndex,
    SQLiteKVStore,
)
from gigapi_metadata.stores.sqlite import connection as sqlite_connection


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


def pragma(file: Path, name: str) -> Any:
    with closing(sqlite3.connect(file)) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


def reads(file: Path) -> list[Callable[[], Any]]:
    index, names, values = SQLiteIndex(file, "db", "t"), SQLiteDBIndex(file), SQLiteKVStore(file)
    return [
        index.get_all,
        lambda: index.query(after=0),
        lambda: index.get(path_of(1)),
        index.paths,
        index.plans,
        index.queues,
        names.databases,
        lambda: names.tables("db"),
        lambda: names.paths("db", "t"),
        lambda: values.get("key"),
    ]


def test_a_view_in_the_place_of_a_table_is_not_read(file: Path) -> None:
    """It could answer for ever."""
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("ALTER TABLE kv RENAME TO kv0")
        db.execute(
            """CREATE VIEW kv AS WITH RECURSIVE numbers (n) AS
               (SELECT 1 UNION ALL SELECT n + 1 FROM numbers)
               SELECT kv0.* FROM kv0, numbers WHERE n < 0"""
        )
    for read in reads(file):
        with pytest.raises(CorruptState, match="view"):
            read()


def test_a_view_of_ones_own_does_no_harm(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE VIEW names AS SELECT name FROM files")
    with SQLiteIndex(file, "db", "t") as index:
        assert index.get_all() == [entry(1)]


def test_reading_a_catalog_that_is_not_there_finds_it_empty_and_makes_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "deep" / "catalog.db"
    for read in reads(file):
        assert not read()
    assert list(tmp_path.iterdir()) == []


def test_the_first_write_makes_the_file_and_its_folders(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "catalog.db"
    with SQLiteIndex(file, "db", "t") as index:
        assert not file.exists()
        index.batch([entry(1)])
        assert file.exists()
    assert pragma(file, "journal_mode") == "wal"
    assert pragma(file, "application_id") == sqlite_connection.APPLICATION_ID
    assert pragma(file, "user_version") == sqlite_connection.SCHEMA_VERSION
    assert pragma(file, "integrity_check") == "ok"


def test_a_refused_batch_makes_no_file(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index, pytest.raises(MetadataError):
        index.batch([entry(1, size_bytes=-1)])
    assert not file.exists()


def test_a_closed_catalog_is_one_file(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
        index.close()
        index.close()
    assert [each.name for each in file.parent.iterdir()] == ["catalog.db"]


def test_an_index_that_was_closed_opens_again_when_used(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
        index.close()
        assert index.get_all() == [entry(1)]


@pytest.mark.parametrize("spelled", [str, Path, os.fsencode])
def test_a_path_is_text_or_a_path(file: Path, spelled: Callable[[Path], Any]) -> None:
    if spelled is os.fsencode:
        with pytest.raises(InvalidConfiguration):
            SQLiteIndex(spelled(file), "db", "t")
        return
    with SQLiteIndex(spelled(file), "db", "t") as index:
        index.batch([entry(1)])
        assert index.get_all() == [entry(1)]


@pytest.mark.parametrize("path", ["", ":memory:", "file:x.db?mode=ro", "file::memory:"])
def test_what_other_processes_can_not_share_is_no_catalog(path: str) -> None:
    with pytest.raises(InvalidConfiguration):
        SQLiteIndex(path, "db", "t")


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with SQLiteIndex("lake.db", "db", "t") as index:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        index.batch([entry(1)])
    assert (tmp_path / "lake.db").exists()


@pytest.mark.parametrize("odd", ["ä b.db", "a?b#c.db", "100%.db", "'quoted\".db"])
def test_odd_file_names_are_taken_literally(tmp_path: Path, odd: str) -> None:
    with SQLiteIndex(tmp_path / odd, "db", "t") as index:
        index.batch([entry(1)])
    assert [each.name for each in tmp_path.iterdir()] == [odd]


def test_a_level_of_durability_that_is_none_is_refused(file: Path) -> None:
    with pytest.raises(InvalidConfiguration):
        SQLiteIndex(file, "db", "t", synchronous="OFF")  # type: ignore[arg-type]


@pytest.mark.parametrize(("level", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_the_level_of_durability_reaches_sqlite(file: Path, level: Any, number: int) -> None:
    with SQLiteIndex(file, "db", "t", synchronous=level) as index:
        index.batch([entry(1)])
        (connection,) = index.connection._idle
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == number


# Files of somebody else

FOREIGN = {
    "another application's": ["CREATE TABLE notes (x)", "PRAGMA application_id = 77"],
    "one without an application": ["CREATE TABLE files (x)", "INSERT INTO files VALUES (1)"],
    "one of the same version": ["CREATE TABLE plans (x)", "PRAGMA user_version = 1"],
    "one of a later version": ["CREATE TABLE plans (x)", "PRAGMA user_version = 99"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_database_is_refused_and_left_as_it_was(file: Path, kind: str) -> None:
    with closing(sqlite3.connect(file)) as db:
        for statement in FOREIGN[kind]:
            db.execute(statement)
        db.commit()
    before = file.read_bytes()
    for call in [*reads(file), lambda: SQLiteIndex(file, "db", "t").batch([entry(1)])]:
        with pytest.raises(MetadataError, match="not a catalog"):
            call()
    gc.collect()
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "content", [b"PAR1 is no database, however long it is" * 100, b"\0" * 4096]
)
def test_what_is_no_database_is_refused_and_left_as_it_was(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with SQLiteIndex(file, "db", "t") as index:
        with pytest.raises(CorruptState, match=r"catalog\.db"):
            index.get_all()
        with pytest.raises(CorruptState, match=r"catalog\.db"):
            index.batch([entry(1)])
    assert file.read_bytes() == content


def test_an_empty_file_becomes_a_catalog(file: Path) -> None:
    file.touch()
    with SQLiteIndex(file, "db", "t") as index:
        assert index.get_all() == []
        index.batch([entry(1)])
        assert index.get_all() == [entry(1)]


def test_a_catalog_cut_short_is_an_error(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(n) for n in range(2000)])
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with SQLiteIndex(file, "db", "t") as index, pytest.raises(CorruptState, match=r"catalog\.db"):
        index.get_all()


def test_a_catalog_of_a_newer_version_is_refused(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
    newer = sqlite_connection.SCHEMA_VERSION + 1
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {newer}")
    for call in [*reads(file), lambda: SQLiteIndex(file, "db", "t").batch([entry(2)])]:
        with pytest.raises(InvalidConfiguration, match=r"newer.*upgrade"):
            call()
    assert pragma(file, "user_version") == newer


def test_a_catalog_of_an_earlier_layout_is_refused(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 1")
    before = file.read_bytes()
    for call in [*reads(file), lambda: SQLiteIndex(file, "db", "t").batch([entry(2)])]:
        with pytest.raises(InvalidConfiguration, match=r"earlier.*layout 1.*export"):
            call()
    assert file.read_bytes() == before


def test_the_layout_is_pinned_to_its_version() -> None:
    """Change the layout, and files made before need an upgrade: then raise SCHEMA_VERSION."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        sqlite_connection._create(db)
        tables = {
            name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    assert sqlite_connection.SCHEMA_VERSION == 2
    assert set(tables) == {"tables", "files", "plans", "plan_files", "ended", "kv"}
    assert tables["files"][:6] == ["table_id", "span", "min_time", "dir", "name", "max_time"]
    assert tables["plan_files"] == ["plan", "position", "name", "total_bytes"]
