"""The catalog's file: made when needed, in WAL mode, and never mistaken for somebody else's."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fix_stores import entry, path_of

from gigapi_metadata import (
    AsyncSQLiteIndex,
    CorruptState,
    InvalidConfiguration,
    MetadataError,
    SQLiteConnection,
    SQLiteDBIndex,
    SQLiteIndex,
    SQLiteKVStore,
    StoreError,
    Unavailable,
    connect,
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
        with pytest.raises(InvalidConfiguration, match="newer.*upgrade"):
            call()
    assert pragma(file, "user_version") == newer


def test_the_layout_is_pinned_to_its_version() -> None:
    """Change the layout, and files made before need an upgrade: then raise SCHEMA_VERSION."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        sqlite_connection._create(db)
        tables = {
            name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    assert sqlite_connection.SCHEMA_VERSION == 1
    assert set(tables) == {"tables", "files", "folders", "plans", "plan_files", "ended", "kv"}
    assert tables["files"][:6] == [
        "table_id",
        "path",
        "size_bytes",
        "min_time",
        "max_time",
        "layer",
    ]


# What may be in the way


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do anything; nobody may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder that nobody may enter as well."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def test_a_folder_that_may_not_be_written_is_an_error(open_path: Path) -> None:
    folder = open_path / "read-only"
    folder.mkdir(mode=0o555)
    with as_nobody():
        for file in (folder / "catalog.db", folder / "deeper" / "catalog.db"):
            with SQLiteIndex(file, "db", "t") as index:
                assert index.get_all() == []
                with pytest.raises(StoreError, match=r"catalog\.db|deeper"):
                    index.batch([entry(1)])
    folder.chmod(0o755)
    assert list(folder.iterdir()) == []


def test_a_file_that_may_not_be_written_is_an_error_or_read_only(open_path: Path) -> None:
    folder = open_path / "folder"
    folder.mkdir()
    file = folder / "catalog.db"
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
    file.chmod(0o444)
    folder.chmod(0o555)
    with as_nobody(), SQLiteIndex(file, "db", "t") as index:
        # Beside a WAL, SQLite itself can't always read without writing.
        with suppress(StoreError):
            assert index.get_all() == [entry(1)]
        with pytest.raises(StoreError, match=r"catalog\.db"):
            index.batch([entry(2)])


def test_a_folder_is_no_catalog(tmp_path: Path) -> None:
    with SQLiteIndex(tmp_path, "db", "t") as index:
        with pytest.raises(StoreError):
            index.get_all()
        with pytest.raises(StoreError):
            index.batch([entry(1)])


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with SQLiteIndex(tmp_path / "file" / "catalog.db", "db", "t") as index:
        with pytest.raises(StoreError):
            index.batch([entry(1)])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_connection, "BUSY_TIMEOUT_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_catalog_that_stays_locked_is_unavailable_to_writers_only(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index, closing(sqlite3.connect(file)) as other:
        index.batch([entry(1)])
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"catalog\.db is locked"):
            index.batch([entry(2)])
        assert index.get_all() == [entry(1)]
        other.rollback()
        index.batch([entry(2)])
        assert index.get_all() == [entry(1), entry(2)]


def test_a_reader_sees_the_whole_of_a_batch_or_nothing(file: Path) -> None:
    halves = [[entry(n) for n in range(50)], [entry(n) for n in range(50, 100)]]
    stop, seen = threading.Event(), set()
    with SQLiteIndex(file, "db", "t") as index:
        index.batch(halves[0])

        def look() -> None:
            while not stop.is_set():
                found = index.get_all()
                seen.add(len(found))
                assert found in halves

        reader = threading.Thread(target=look)
        reader.start()
        for _ in range(20):
            index.batch(halves[1], halves[0])
            index.batch(halves[0], halves[1])
        stop.set()
        reader.join()
    assert seen == {50}


def test_threads_share_an_index(file: Path) -> None:
    with SQLiteIndex(file, "db", "t") as index:
        threads = [
            threading.Thread(
                target=lambda n=n: [index.batch([entry(n * 20 + m)]) for m in range(20)]
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(index.get_all()) == 160
        assert sum(len(plan.paths) for plan in index.plans()) == 160


async def test_a_cancelled_call_leaves_the_catalog_whole_and_usable(file: Path) -> None:
    async with AsyncSQLiteIndex(file, "db", "t") as index:
        await index.batch([entry(0)])
        for number in range(1, 30):
            batch = [entry(number * 100 + n) for n in range(100)]
            call = asyncio.create_task(index.batch(batch))
            await asyncio.sleep(0.0005 * (number % 5))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            found = {each.path for each in await index.get_all()}
            assert len(found & {each.path for each in batch}) in (0, 100)
        await index.batch([entry(1)])


async def test_closing_after_a_cancelled_call_leaves_no_file_open(file: Path) -> None:
    index = AsyncSQLiteIndex(file, "db", "t")
    await index.batch([entry(0)])
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        call = asyncio.create_task(index.batch([entry(1)]))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await index.close()
        other.rollback()
    loop = asyncio.get_running_loop()
    await loop.shutdown_default_executor()  # waits for the transaction under way
    still = [
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)
    ]
    assert not [each for each in still if each.startswith(str(file))]


def _is_link(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


def test_a_connection_may_be_shared_and_is_closed_by_whoever_made_it(file: Path) -> None:
    with SQLiteConnection(file) as connection:
        with SQLiteIndex(connection, "db", "t") as index, SQLiteKVStore(connection) as values:
            index.batch([entry(1)])
            values.put("key", b"1")
        with SQLiteDBIndex(connection) as names:
            assert names.databases() == ["db"]
    with connect(f"sqlite:///{file}") as catalog:
        assert catalog.kv.get("key") == b"1"
        assert catalog.table("db", "t").get_all() == [entry(1)]
