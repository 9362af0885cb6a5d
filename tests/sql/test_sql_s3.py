"""Layers on S3 and on this machine, in one query."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from s3_lab import KEY, SECRET, Fault, S3Lab
from sql_lab import DAY, HOUR, SECOND, write

from gigapi_metadata import Catalog, IndexEntry, Layer, QueryFailed, StorageError, connect
from gigapi_metadata.storage import Storages


def _rows(hour: int, **more: list[object]) -> pa.Table:
    times = pa.array([DAY + hour * HOUR + n * SECOND for n in range(100)], pa.int64())
    return pa.table({"time": times, "n": [hour * 100 + n for n in range(100)], **more})


@pytest.fixture
def tiers(s3: S3Lab, tmp_path: Path) -> Catalog:
    """Hours 0 to 4 on S3, 5 to 7 here."""
    layers = [Layer(str(tmp_path / "hot"), "hot"), Layer(s3.url(), "cold", "s3")]
    cold = Storages(layers).table("cold", "db", "t")
    catalog = connect(tmp_path / "catalog.db", layers=layers)
    entries = []
    for hour in range(8):
        layer = "cold" if hour < 5 else "hot"
        data = tmp_path / "hot/db/t/data"
        file = write(data, hour, "a*[1] b", _rows(hour))
        entry = IndexEntry.from_parquet(file, root=data, database="db", table="t", layer=layer)
        if layer != "hot":
            cold.put(entry.path, file)
            file.unlink()
        entries.append(entry)
    catalog.table("db", "t").batch(entries)
    s3.seen.clear()
    return catalog


def gets(s3: S3Lab) -> list[str]:
    return [line for line in s3.seen if line.startswith("GET")]


def test_both_at_once(tiers: Catalog) -> None:
    assert tiers.sql("SELECT count(*), sum(n) FROM db.t").fetchall() == [(800, 319_600)]
    frame = tiers.table("db", "t").to_arrow(after=DAY + 4 * HOUR, before=DAY + 5 * HOUR)
    assert frame.num_rows == 101


def test_only_what_is_needed_is_asked_for(tiers: Catalog, s3: S3Lab) -> None:
    query = f"SELECT max(n) FROM db.t WHERE time < {DAY + HOUR}"
    assert tiers.sql(query).fetchall() == [(99,)]
    assert all("hour%3D00" in line or "hour=00" in line for line in gets(s3))
    before = len(s3.seen)
    assert 0 < before <= 2
    assert tiers.sql(query).fetchall() == [(99,)]
    assert len(s3.seen) == before  # what was read is kept


def test_columns_that_differ(tiers: Catalog, tmp_path: Path) -> None:
    data = tmp_path / "hot/db/t/data"
    file = write(data, 9, "late", _rows(9, extra=["x"] * 100))
    table = tiers.table("db", "t")
    table.batch([IndexEntry.from_parquet(file, root=data, database="db", table="t", layer="hot")])
    assert tiers.sql("SELECT count(extra), count(*) FROM db.t").fetchall() == [(100, 900)]


def test_requests_that_fail_are_repeated(tiers: Catalog, s3: S3Lab) -> None:
    s3.faults += [Fault("503", "GET"), Fault("cut", "GET"), Fault("reset", "GET")]
    assert tiers.sql("SELECT count(*) FROM db.t").fetchall() == [(800,)]


def test_no_credential_is_shown(tiers: Catalog, s3: S3Lab, tmp_path: Path) -> None:
    relation = tiers.sql("SELECT filename, * FROM db.t LIMIT 1")
    shown = [repr(tiers), relation.plan.sql, str(relation.plan), str(relation.fetchall())]
    shown.append(str(tiers.sql("EXPLAIN ANALYZE SELECT count(*) FROM db.t").fetchall()))
    shown.append(tiers._repr_html_() + tiers.table("db", "t")._repr_html_())
    layers = tiers.layers
    storage = Storages(layers).table("cold", "db", "t")
    for entry in tiers.table("db", "t").query(layer="cold"):
        storage.delete(entry.path)
    catalog = connect(tmp_path / "catalog.db", layers=[*layers, Layer("/nowhere", "other")])
    with pytest.raises(StorageError) as missing:
        catalog.sql("SELECT sum(n) FROM db.t").fetchall()
    shown += [str(missing.value), repr(missing.value.__cause__)]
    with pytest.raises(QueryFailed) as wrong:
        tiers.sql("SELECT nope FROM db.t")
    shown.append(str(wrong.value))
    for text in shown:
        assert not [
            secret for secret in (KEY, SECRET, SECRET.replace("/", "%2F")) if secret in text
        ]


def test_a_name_that_no_query_was_planned_with(tiers: Catalog) -> None:
    for query in ("FROM 'layer://cold/db/t/x.parquet'", "FROM read_parquet('layer://x')"):
        with pytest.raises(QueryFailed):
            tiers.sql(query)
