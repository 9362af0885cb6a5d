"""The same against a bucket: listed in bulk, read by the ends of its files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from check_lab import DAY, Lake
from s3_lab import Fault, S3Lab

from gigapi_metadata import IndexEntry, Layer, parquet
from gigapi_metadata.checking import quarantine
from gigapi_metadata.checking.footers import END_BYTES
from gigapi_metadata.errors import StorageError
from gigapi_metadata.storage import S3Storage, s3_listing

TABLE = "pre/fix/db/t"
TOMORROW = {"clock": lambda: time.time() + 86_400}


@pytest.fixture
def bucket(s3: S3Lab, tmp_path: Path) -> Iterator[Lake]:
    """A lake whose only layer is a bucket."""
    layers = [Layer(s3.url(), "cold", "s3")]
    with Lake("sqlite", f"sqlite://{tmp_path}/catalog.db", tmp_path, layers) as lake:
        yield lake


def storage(lake: Lake) -> S3Storage:
    found = lake.storages.table("cold", "db", "t")
    assert isinstance(found, S3Storage)
    return found


def upload(lake: Lake, count: int = 4) -> list[IndexEntry]:
    entries = []
    for number in range(count):
        path = lake.write(f"f{number}.1", number % 2, "cold", rows=100)
        storage(lake).put(path, lake.file(path, "cold"))
        entries.append(lake.entry(path, "cold"))
    return entries


def test_a_bucket_that_is_whole(bucket: Lake, s3: S3Lab) -> None:
    bucket.index.batch(upload(bucket))
    s3.seen.clear()
    assert bucket.check().findings == []
    assert not [each for each in s3.seen if each.startswith("HEAD")]
    assert len(s3.seen) <= 5, "a few listings"
    s3.seen.clear()
    assert bucket.check(deep=True).findings == []
    assert len([each for each in s3.seen if ".parquet" in each and each.startswith("GET")]) == 4, (
        "one request a file"
    )


def test_damage_against_a_bucket(bucket: Lake) -> None:
    entries = upload(bucket, 5)
    wrong = msgspec.structs.replace(entries[0], size_bytes=1, row_count=7)
    times = msgspec.structs.replace(entries[1], min_time=1)
    bucket.index.batch([wrong, times, *entries[2:4]])  # entries[4] is an orphan
    storage(bucket).delete(entries[3].path)
    kinds = bucket.kinds(deep=True, **TOMORROW)
    assert kinds == ["missing-file", "orphan", "wrong-size", "wrong-times"]
    for _ in range(2):
        bucket.repair(deep=True, **TOMORROW)
    assert bucket.kinds(deep=True, **TOMORROW) == []
    found = {entry.path: entry for entry in bucket.index.get_all()}
    assert sorted(found) == sorted(entry.path for entry in entries[:3])
    for entry in entries[:3]:
        assert msgspec.structs.replace(found[entry.path], chunk_time=0) == msgspec.structs.replace(
            entry, chunk_time=0
        )
    (kept,) = quarantine.kept_in(storage(bucket))
    assert kept.path.endswith(f"/{entries[4].path}.orphan")
    later = time.time() + 9 * 86_400
    bucket.repair(quarantine_age_s=7 * 86_400, clock=lambda: later)
    assert quarantine.kept_in(storage(bucket)) == []


def test_a_bucket_that_does_not_answer_is_no_damage(
    bucket: Lake, s3: S3Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.index.batch(upload(bucket))

    def refuse(self: S3Storage) -> list[str]:
        raise StorageError("layer 'cold': access denied")

    monkeypatch.setattr(S3Storage, "folders", refuse)
    assert bucket.kinds() == ["unreachable-layer"]
    bucket.repair()
    assert len(bucket.index.get_all()) == 4


def test_a_listing_that_breaks_off_is_begun_again(bucket: Lake, s3: S3Lab) -> None:
    bucket.index.batch(upload(bucket))
    s3.faults.append(Fault("503", "GET", "list-type"))
    assert bucket.check().findings == []


# Objects that anybody may have put there


@pytest.mark.parametrize("magic", [b"JUNK", b"PAR1"])
def test_no_more_is_fetched_than_a_footer_can_have(
    bucket: Lake, s3: S3Lab, monkeypatch: pytest.MonkeyPatch, magic: bytes
) -> None:
    size = 4 * END_BYTES
    claimed = (size - 100).to_bytes(4, "little")
    s3.put(f"{TABLE}/{DAY}/hour=00/junk.parquet", bytes(size - 8) + claimed + magic)
    monkeypatch.setattr(parquet, "_MAX_FOOTER", 2 * END_BYTES)
    s3.seen.clear()
    (bad,) = bucket.rebuild().bad
    assert "not a Parquet file" in bad.reason or "damaged" in bad.reason
    assert len([each for each in s3.seen if "junk" in each]) == 1


def test_a_file_without_a_time_column_is_refused_by_its_footer(bucket: Lake, s3: S3Lab) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = bucket.write("foreign.1", 0, "cold")
    file = bucket.file(path, "cold")
    pq.write_table(pa.table({"blob": [0.5, 1.5]}), file)
    storage(bucket).put(path, file)
    s3.seen.clear()
    (bad,) = bucket.rebuild().bad
    assert "no time column" in bad.reason
    assert len([each for each in s3.seen if "foreign" in each]) == 1


@pytest.mark.parametrize(
    "keys",
    [
        [f"{DAY}/hour=00//x.parquet"],
        [f"{DAY}//x.parquet", f"{DAY}/hour=00/../../../y.parquet", "/z.parquet"],
        [f"{DAY}/hour=00/a.parquet", f"{DAY}/hour=00/a.parquet/b.parquet"],
        [f"{DAY}/hour=00/{'n' * 300}.parquet"],
        [f"{DAY}/{'d/' * 300}b.parquet"],
        [".gigapi-quarantine/x//y.orphan", ".gigapi-quarantine/20240115T000000Z/../x.orphan"],
    ],
)
def test_odd_keys_cost_themselves_only(bucket: Lake, s3: S3Lab, keys: list[str]) -> None:
    entries = upload(bucket)
    content = bucket.file(entries[0].path, "cold").read_bytes()
    for key in keys:
        s3.put(f"{TABLE}/{key}", content)
    report = bucket.rebuild()
    assert {entry.path for entry in entries} <= {entry.path for entry in bucket.index.get_all()}
    assert bool(report.bad) == any("//" in key for key in keys if "quarantine" not in key)
    assert set(bucket.kinds(deep=True)) <= {"illegal-name"}
    assert sorted(bucket.storages.tables("cold")) == [("db", "t")]


def test_what_a_lister_of_odd_keys_skips() -> None:
    for key, folder, behind in (
        ("a/b//c", "a/b", "a/b/0"),
        ("a/../c", "a", "a/..0"),
        ("a/b\nc/d", "a", "a/b "),
    ):
        assert s3_listing._behind(key) == (folder, behind)
        assert behind > key


def test_a_temporary_folder_is_made_when_it_is_needed(
    bucket: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    assert bucket.rebuild().found == 0
    assert not list((tmp_path / "tmp").iterdir())
    upload(bucket)
    bucket.rebuild()
    (made,) = (tmp_path / "tmp").glob("*/worker-*")
    assert list(made.iterdir()) == []
    bucket.footers.close()
    assert not made.exists()


def test_a_large_footer_and_one_without_statistics_are_read(bucket: Lake) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = bucket.write("wide.1", 0, "cold")
    file = bucket.file(path, "cold")
    columns = {"__timestamp": pa.array([1, 2], pa.int64())}
    columns |= {f"column{n:04}": pa.array(["x", "y"]) for n in range(900)}
    pq.write_table(pa.table(columns), file)
    plain = bucket.write("plain.1", 0, "cold")
    pq.write_table(pa.table({"__timestamp": pa.array([7, 5], pa.int64())}),
                   bucket.file(plain, "cold"), write_statistics=False)  # fmt: skip
    for each in (path, plain):
        storage(bucket).put(each, bucket.file(each, "cold"))
    report = bucket.rebuild()
    assert (report.registered, report.bad) == (2, [])
    entry = bucket.index.get(plain)
    assert entry is not None
    assert (entry.min_time, entry.max_time) == (5, 7)
