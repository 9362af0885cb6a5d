"""What may be in the way of a transaction: rights, locks, threads, cancellation."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from fix_stores import entry

from gigapi_metadata import (
    AsyncSQLiteIndex,
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
    with (
        SQLiteIndex(tmp_path / "file" / "catalog.db", "db", "t") as index,
        pytest.raises(StoreError),
    ):
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
