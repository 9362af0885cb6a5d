"""What every storage promises."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gigapi_metadata.errors import FileExists, FileMissing, InvalidName, StorageError
from gigapi_metadata.storage.base import TEMP_PREFIX, Storage

A = "date=2024-01-15/hour=00/a.1.parquet"
B = "date=2024-01-15/hour=01/b.2.parquet"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(100_000))
    return path


def read(storage: Storage, path: str, folder: Path) -> bytes:
    target = folder / "read"
    info = storage.get(path, target)
    assert info.size == target.stat().st_size
    return target.read_bytes()


def test_what_is_put_is_there(storage: Storage, file: Path, tmp_path: Path) -> None:
    made = storage.put(A, file)
    assert made == storage.head(A)
    assert (made.path, made.size) == (A, 100_000)
    assert read(storage, A, tmp_path) == file.read_bytes()
    file.write_bytes(b"other")
    storage.put(A, file)
    assert read(storage, A, tmp_path) == b"other"


def test_what_is_not_there(storage: Storage, tmp_path: Path) -> None:
    for request in (storage.head, lambda path: storage.get(path, tmp_path / "x")):
        with pytest.raises(FileMissing, match="hour=00/a"):
            request(A)
    with pytest.raises(FileMissing):
        storage.copy(A, B)
    assert storage.delete(A) is False
    assert storage.list("date=2024-01-15") == []


def test_put_if_absent_never_replaces(storage: Storage, file: Path, tmp_path: Path) -> None:
    storage.put_if_absent(A, file)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(FileExists):
        storage.put_if_absent(A, other)
    assert read(storage, A, tmp_path) == file.read_bytes()
    assert [info.path for info in storage.list("date=2024-01-15/hour=00")] == [A]


def test_put_if_absent_has_one_winner(storage: Storage, tmp_path: Path) -> None:
    won: list[int] = []

    def put(number: int) -> None:
        source = tmp_path / f"source{number}"
        source.write_bytes(b"%d" % number)
        try:
            storage.put_if_absent(A, source)
        except FileExists:
            return
        won.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read(storage, A, tmp_path) == b"%d" % won[0]


def test_copy_and_delete(storage: Storage, file: Path, tmp_path: Path) -> None:
    storage.put(A, file)
    assert storage.copy(A, B).size == 100_000
    storage.copy(A, B)  # again: the same
    assert storage.delete(A) is True
    assert storage.delete(A) is False
    assert read(storage, B, tmp_path) == file.read_bytes()
    assert storage.list("date=2024-01-15/hour=00") == []


def test_list_is_of_one_folder(storage: Storage, file: Path) -> None:
    for path in (A, B, A.replace("a.1", "c.1"), "top.1.parquet"):
        storage.put(path, file)
    found = storage.list("date=2024-01-15/hour=00")
    assert [(info.path, info.size) for info in found] == [
        (A, 100_000),
        (A.replace("a.1", "c.1"), 100_000),
    ]
    assert storage.list("date=2024-01-15/hour=0") == []
    assert [info.path for info in storage.list("")] == ["top.1.parquet"]


def test_list_is_of_some_names(storage: Storage, file: Path) -> None:
    for path in (A, A.replace("a.1", "b.1"), A.replace("a.1", "c.1")):
        storage.put(path, file)
    found = storage.list("date=2024-01-15/hour=00", ("a", "c."))
    assert [info.path for info in found] == [A, A.replace("a.1", "c.1")]
    assert storage.list("date=2024-01-15/hour=00", (TEMP_PREFIX,)) == []


@pytest.mark.parametrize("path", ["", "../x", "a/../../x", "/etc/passwd", "a//b", "a\\b", "a/\x00"])
def test_a_path_that_leads_out_is_refused(storage: Storage, file: Path, path: str) -> None:
    for request in (
        storage.head,
        storage.delete,
        lambda path: storage.get(path, file),
        lambda path: storage.put(path, file),
        lambda path: storage.put_if_absent(path, file),
        lambda path: storage.copy(path, A),
    ):
        with pytest.raises((InvalidName, StorageError)):
            request(path)
    storage.put(A, file)
    with pytest.raises(InvalidName):
        storage.copy(A, path)
