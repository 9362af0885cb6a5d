"""S3 when the network misbehaves, and what of credentials is shown."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from s3_lab import KEY, SECRET, Fault, S3Lab

from gigapi_metadata import Layer
from gigapi_metadata.errors import StorageError
from gigapi_metadata.storage import S3Storage, Storages
from gigapi_metadata.storage import s3 as module

A = "date=2024-01-15/hour=00/a.1.parquet"
SIZE = 300_000


@pytest.fixture
def storage(s3: S3Lab, monkeypatch: pytest.MonkeyPatch) -> S3Storage:
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.5)
    made = Storages([Layer(s3.url(), "cold", "s3")]).table("cold", "db", "t")
    assert isinstance(made, S3Storage)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_where_files_are(storage: S3Storage, s3: S3Lab, file: Path) -> None:
    storage.put(A, file)
    place = f"/{s3.bucket}/pre/fix/db/t/{A}"
    assert s3.seen[0].startswith("PUT ")
    assert s3.seen[0].replace("%3D", "=").endswith(place)


@pytest.mark.parametrize("kind", ["503", "reset", "silent", "lost"])
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
def test_a_fault_in_passing_is_got_over(
    storage: S3Storage, s3: S3Lab, file: Path, tmp_path: Path, kind: str, method: str
) -> None:
    s3.faults += [Fault(kind, method)]
    storage.put(A, file)
    storage.get(A, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
    assert storage.delete(A)
    assert s3.faults == []


def test_a_cut_download_is_whole_in_the_end(
    storage: S3Storage, s3: S3Lab, file: Path, tmp_path: Path
) -> None:
    storage.put(A, file)
    s3.faults += [Fault("cut", "GET")] * 2
    assert storage.get(A, tmp_path / "got").size == SIZE
    assert (tmp_path / "got").read_bytes() == file.read_bytes()


def test_a_large_file_goes_up_in_parts_whatever_happens_to_them(
    storage: S3Storage, s3: S3Lab, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 5 * 1024 * 1024)
    file.write_bytes(os.urandom(12_000_000))
    s3.faults += [Fault("503", "PUT", "partNumber=2"), Fault("reset", "PUT", "partNumber=3")]
    storage.put(A, file)
    assert s3.faults == []
    assert storage.get(A, tmp_path / "got").size == 12_000_000
    assert (tmp_path / "got").read_bytes() == file.read_bytes()


def test_a_server_that_is_down_for_long_is_an_error(
    storage: S3Storage, s3: S3Lab, file: Path
) -> None:
    s3.faults += [Fault("503", "PUT")] * 1000
    with pytest.raises(StorageError, match="layer 'cold'"):
        storage.put(A, file)


def test_without_its_bucket_no_file_counts_as_deleted(s3: S3Lab) -> None:
    """The drop would be ended, and the file stay for ever."""
    url = s3.url().replace(s3.bucket, "no-such-bucket")
    storage = Storages([Layer(url, "cold", "s3")]).table("cold", "db", "t")
    with pytest.raises(StorageError, match=r": bucket 'no-such-bucket': NoSuchBucket: The spec"):
        storage.delete(A)


def test_a_cut_listing_is_whole_in_the_end(storage: S3Storage, s3: S3Lab, file: Path) -> None:
    storage.put(A, file)
    s3.faults += [Fault("cut", "GET")] * 2
    assert [info.path for info in storage.list("date=2024-01-15/hour=00")] == [A]


def test_credentials_are_never_shown(s3: S3Lab, file: Path) -> None:
    url = s3.url().replace(s3.bucket, "no-such-bucket")
    storages = Storages([Layer(url, "cold", "s3")])
    storage = storages.table("cold", "db", "t")
    shown = [repr(storages), repr(storage), str(storage)]
    for request in (lambda: storage.put(A, file), lambda: storage.list("x")):
        try:
            request()
        except StorageError as fault:
            shown += traceback.format_exception(fault)
    assert len(shown) > 3
    text = "".join(shown)
    for secret in (KEY, SECRET, SECRET.replace("/", "%2F"), "very"):
        assert secret not in text
