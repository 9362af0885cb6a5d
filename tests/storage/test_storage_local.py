"""Local files: links, crashes half way, what other users of the folder see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gigapi_metadata.errors import StorageError
from gigapi_metadata.storage import LocalStorage, Storages
from gigapi_metadata.storage.base import TEMP_PREFIX
from gigapi_metadata.storage.local import MAX_DEPTH

A = "date=2024-01-15/hour=00/a.1.parquet"


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    made = Storages(None, tmp_path / "root").table("", "db", "t")
    assert isinstance(made, LocalStorage)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


def requests(storage: LocalStorage, path: str, file: Path) -> None:
    """Every one of them must be refused."""
    for request in (
        lambda: storage.head(path),
        lambda: storage.local(path),
        lambda: storage.get(path, file.with_name("got")),
        lambda: storage.put(path, file),
        lambda: storage.draft(path).__enter__(),
        lambda: storage.copy(path, A),
    ):
        with pytest.raises(StorageError):
            request()


@pytest.mark.parametrize("level", ["db", "db/t", "db/t/data", "db/t/data/date=2024-01-15"])
def test_a_linked_folder_is_not_followed(
    storage: LocalStorage, file: Path, tmp_path: Path, level: str
) -> None:
    outside = tmp_path / "outside"
    below = Path(f"db/t/data/{A}").relative_to(level)
    (outside / below).parent.mkdir(parents=True)
    (outside / below).write_bytes(b"not yours")
    link = tmp_path / "root" / level
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    requests(storage, A, file)
    with pytest.raises(StorageError):
        storage.delete(A)
    with pytest.raises(StorageError):
        storage.list("date=2024-01-15/hour=00")
    assert (outside / below).read_bytes() == b"not yours"


def test_a_linked_file_is_not_read_or_written_through(
    storage: LocalStorage, file: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"not yours")
    link = storage.folder / A
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    for request in (storage.head, storage.local, lambda path: storage.get(path, file)):
        with pytest.raises(StorageError, match="link"):
            request(A)
    storage.put(A, file)
    assert not link.is_symlink()
    assert outside.read_bytes() == b"not yours"
    link.unlink()
    link.symlink_to(outside)
    assert storage.delete(A)
    assert outside.read_bytes() == b"not yours"


def test_the_root_may_be_a_link(tmp_path: Path, file: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    Storages(None, tmp_path / "root").table("", "db", "t").put(A, file)
    assert (tmp_path / "real/db/t/data" / A).read_bytes() == b"content"


def test_nothing_is_gone_while_the_layers_folder_is_missing(tmp_path: Path) -> None:
    """Its disk is not mounted, rather."""
    storage = Storages(None, tmp_path / "mnt").table("", "db", "t")
    with pytest.raises(StorageError, match="its layer's folder is not there"):
        storage.delete("date=2024-01-15/hour=00/a.1.parquet")
    (tmp_path / "mnt").mkdir()
    assert not storage.delete("date=2024-01-15/hour=00/a.1.parquet")


def test_pipes_and_folders_are_no_files(storage: LocalStorage) -> None:
    (storage.folder / A).mkdir(parents=True)
    os.mkfifo(storage.folder / "pipe")
    for path in (A, "pipe"):
        with pytest.raises(StorageError, match="not a file"):
            storage.head(path)
    assert storage.list("") == []


@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_put_that_fails_leaves_nothing(
    storage: LocalStorage, file: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        with pytest.raises(StorageError, match="No space left"):
            storage.put(A, file)
    assert storage.list("date=2024-01-15/hour=00") == []


def test_a_draft_is_hidden_until_it_is_placed(storage: LocalStorage) -> None:
    folder = "date=2024-01-15/hour=00"
    with storage.draft(A) as draft:
        assert draft.name.startswith(TEMP_PREFIX + "a.1.parquet")
        assert not draft.name.endswith(".parquet")
        draft.write_bytes(b"content")
        assert [info.path for info in storage.list(folder)] == [f"{folder}/{draft.name}"]
        assert storage.place(draft, A).size == 7
        assert not draft.exists()
    with storage.draft(A) as draft:
        draft.write_bytes(b"given up")
    assert [info.path for info in storage.list(folder)] == [A]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc: named as ever")
def test_a_draft_lies_in_its_folder_whatever_takes_the_place_of_that(
    storage: LocalStorage, tmp_path: Path
) -> None:
    folder, outside = (storage.folder / A).parent, tmp_path / "outside"
    outside.mkdir()
    with storage.draft(A) as draft:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(outside)
        draft.write_bytes(b"content")
        assert (tmp_path / "moved" / draft.name).exists()
        with pytest.raises(StorageError, match="symbolic link"):
            storage.place(draft, A)
    assert list(outside.iterdir()) == []
    assert list((tmp_path / "moved").iterdir()) == []


def test_the_depth_of_folders_is_bounded(storage: LocalStorage, file: Path) -> None:
    storage.put(f"day/{'d/' * MAX_DEPTH}a.parquet", file)
    storage.put(f"day/{'d/' * MAX_DEPTH}e/f/b.parquet", file)
    storage.put("day/z/c.parquet", file)
    assert [info.path for info in storage.walk("day")] == [
        f"day/{'d/' * MAX_DEPTH}a.parquet",
        f"day/{'d/' * MAX_DEPTH}e//*.parquet",
        "day/z/c.parquet",
    ]


def test_a_copy_shares_its_bytes_and_outlives_its_source(storage: LocalStorage, file: Path) -> None:
    storage.put(A, file)
    target = A.replace("a.1", "a.2")
    storage.copy(A, target)
    assert storage.local(A).stat().st_ino == storage.local(target).stat().st_ino
    storage.delete(A)
    assert storage.local(target).read_bytes() == b"content"


def test_a_copy_where_the_file_system_has_no_links(
    storage: LocalStorage, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(1, "Operation not permitted")

    storage.put(A, file)
    monkeypatch.setattr(os, "link", broken)
    target = A.replace("a.1", "a.2")
    assert storage.copy(A, target).size == 7
    assert storage.local(target).read_bytes() == b"content"
    assert len(storage.list("date=2024-01-15/hour=00")) == 2
