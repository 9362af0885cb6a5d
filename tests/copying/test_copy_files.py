"""Export and import: NDJSON and Parquet, and lines that can't be used."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from copy_lab import ODD, content, fill, made, odd_entries, opened

from gigapi_metadata import InvalidEntry, connect
from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying import Wanted, Writer, export, format_of, load, ndjson, tables_of

LINE = {
    "type": "entry", "database": "db", "table": "t", "path": "date=x1/a.1.parquet",
    "size_bytes": 1, "min_time": 1, "max_time": 2,
}  # fmt: skip
PLAN = {
    "type": "plan", "database": "db", "table": "t", "kind": "drop", "state": "waiting", "id": "1",
    "layer": "", "writer_id": "", "dir": "date=x1", "iteration": 0, "paths": ["date=x1/a"],
    "size_bytes": 0, "due_s": 5,
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Catalog]:
    with opened(f"sqlite://{tmp_path}/from.db", tmp_path) as catalog:
        fill(catalog)
        yield catalog


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Catalog]:
    with connect(tmp_path / "to.db") as catalog:
        yield catalog


def entries_of(catalog: Catalog) -> list[str]:
    return [repr(catalog.table(*name).get_all()) for name in tables_of(catalog)]


def test_ndjson_and_back(source: Catalog, target: Catalog, tmp_path: Path) -> None:
    file = str(tmp_path / "all.ndjson")
    reports = export(source, tables_of(source), file, "ndjson")
    assert sum(each.entries for each in reports) == 66
    with open(file) as lines:
        found = [json.loads(line) for line in lines]
    assert {each["type"] for each in found} == {"entry", "plan"}
    first, again = Writer(target, 7), Writer(target)
    load(file, "ndjson", first)
    load(file, "ndjson", again)
    assert content(target) == content(source)
    assert sum(each.written for each in first.reports) == 66
    assert not any(each.written or each.plans_written for each in again.reports)


def test_parquet_and_back(source: Catalog, target: Catalog, tmp_path: Path) -> None:
    file = str(tmp_path / "all.parquet")
    with_entries = [name for name in tables_of(source) if source.table(*name).get_all()]
    export(source, tables_of(source), file, "parquet")
    load(file, "parquet", Writer(target, 7))
    assert tables_of(target) == with_entries
    assert entries_of(target) == [repr(source.table(*name).get_all()) for name in with_entries]


def test_duckdb_reads_the_parquet(source: Catalog, tmp_path: Path) -> None:
    file = str(tmp_path / "all.parquet")
    export(source, tables_of(source, Wanted("db", "t")), file, "parquet")
    entries = source.table("db", "t").get_all()
    rows = duckdb.sql(
        f"""SELECT path, size_bytes, min_time, max_time, layer, row_count, chunk_time, writer_id
            FROM '{file}' ORDER BY min_time, path"""
    ).fetchall()
    assert rows == [
        (e.path, e.size_bytes, e.min_time, e.max_time, e.layer, e.row_count, e.chunk_time,
         e.writer_id)
        for e in entries
    ]  # fmt: skip
    (found,) = duckdb.sql(
        f"""SELECT typeof(min_time), (min->>'unsigned'), (min->>'low'), "max" FROM '{file}'
            WHERE min LIKE '%unsigned%'"""
    ).fetchall()
    assert found == ("BIGINT", str(2**64 - 1), str(-(2**63)), "{}")
    nulls = duckdb.sql(f"SELECT count(*) FROM '{file}' WHERE min IS NULL").fetchall()
    assert nulls == [(sum(each.min_data is None for each in entries),)]


def test_many_rows(tmp_path: Path, target: Catalog) -> None:
    with connect(tmp_path / "many.db", merge_configurations=[]) as source:
        source.table("db", "t").batch(
            made(1, layer="", path=f"date=2024-01-{10 + n % 3}/f{n}.1.parquet", min_time=-n)
            for n in range(45_000)
        )
        file = str(tmp_path / "many.parquet")
        export(source, tables_of(source), file, "parquet")
        assert pq.ParquetFile(file).metadata.num_rows == 45_000
        load(file, "parquet", Writer(target))
        assert entries_of(target) == entries_of(source)


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_a_filter(source: Catalog, target: Catalog, tmp_path: Path, format: Any) -> None:
    file = str(tmp_path / "all")
    export(source, tables_of(source), file, format)
    load(file, format, Writer(target), Wanted("zwei", "t"))
    assert target.databases() == ["zwei"]
    assert target.planned() == ([("zwei", "t")] if format == "ndjson" else [])


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_a_file_is_whole_or_not_there(
    source: Catalog, tmp_path: Path, format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "all"
    file.write_text("before")

    def failing(days: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(source, tables_of(source), str(file), format, failing)
    assert file.read_text() == "before"
    assert os.listdir(folder) == ["all"]
    export(source, tables_of(source), str(file), format)
    assert file.read_bytes() != b"before"
    assert os.listdir(folder) == ["all"]
    assert file.stat().st_mode & 0o777 == (tmp_path / "from.db").stat().st_mode & 0o777


def test_streams(source: Catalog, target: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=out))
    export(source, tables_of(source), "-", "ndjson")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(out.getvalue())))
    load("-", "ndjson", Writer(target))
    monkeypatch.undo()
    assert content(target) == content(source)


def test_what_the_name_tells() -> None:
    assert [format_of(name) for name in ("-", "a.ndjson", "a.JSONL", "b/a.parquet", "a", "")] == [
        "ndjson", "ndjson", "ndjson", "parquet", None, None,
    ]  # fmt: skip


def write_lines(file: Path, lines: list[Any]) -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", errors="surrogateescape")
    return str(file)


class TestBadLines:
    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            ("{", "no entry or plan"),
            ("[]", "no entry or plan"),
            ("\udcff", "no entry or plan"),
            ("[" * 100_000, "no entry or plan"),
            ({"type": "what"}, "no entry or plan"),
            ({"database": "db"}, "no entry or plan"),
            (LINE | {"size_bytes": 1.5}, "size_bytes"),
            (LINE | {"size_bytes": "1"}, "size_bytes"),
            (LINE | {"size_bytes": 2**63}, "size_bytes"),
            (LINE | {"max_time": 0}, "max_time"),
            (LINE | {"path": "../a"}, "segment"),
            (LINE | {"min": {"v": 2**64}}, "64 bits"),
            (LINE | {"database": "a:b"}, "database name"),
            (LINE | {"table": ""}, "table name"),
            (PLAN | {"kind": "other"}, "kind"),
            (PLAN | {"paths": []}, "one file"),
        ],
    )
    def test_nothing_of_its_batch_is_written(
        self, target: Catalog, tmp_path: Path, line: Any, fault: str
    ) -> None:
        good = [LINE | {"path": f"date=x1/{n}.1.parquet"} for n in range(5)]
        file = write_lines(tmp_path / "bad.ndjson", [*good[:4], "", good[4], line, good[0]])
        with pytest.raises(InvalidEntry) as caught:
            load(file, "ndjson", Writer(target, 4))
        assert f"{file}: line 7: " in str(caught.value)
        assert fault in str(caught.value)
        assert len(str(caught.value)) < 1000
        assert len(target.table("db", "t").get_all()) == 4

    def test_what_the_store_refuses(self, redis_url: str, tmp_path: Path) -> None:
        lines = [LINE, LINE | {"path": "flat.1.parquet"}]
        file = write_lines(tmp_path / "bad.ndjson", lines)
        with connect(redis_url) as target:
            with pytest.raises(InvalidEntry, match=r"bad.ndjson: line 2: .*flat"):
                load(file, "ndjson", Writer(target))
            assert target.databases() == []

    def test_unknown_fields_are_no_error(self, target: Catalog, tmp_path: Path) -> None:
        load(write_lines(tmp_path / "a", [LINE | {"new": 1}, PLAN]), "ndjson", Writer(target))
        assert len(target.table("db", "t").get_all()) == 1
        assert [each.id for each in target.table("db", "t").plans()] == ["1"]

    def test_parquet_that_is_none(self, target: Catalog, tmp_path: Path) -> None:
        file = tmp_path / "a.parquet"
        file.write_bytes(b"PAR1 no PAR1")
        with pytest.raises(InvalidEntry, match=r"a.parquet is not readable Parquet"):
            load(str(file), "parquet", Writer(target))
        pq.write_table(pa.table({"path": ["a"]}), file)
        with pytest.raises(InvalidEntry, match="has no column database"):
            load(str(file), "parquet", Writer(target))

    @pytest.mark.parametrize(
        ("column", "value", "fault"),
        [
            ("size_bytes", -1, "negative"),
            ("size_bytes", None, "must be int"),
            ("min_time", 1.5, "must be int"),
            ("path", None, "must be str"),
            ("min", "{", "no JSON object"),
            ("max", "[1]", "no JSON object"),
            ("layer", "a/b", "layer name"),
        ],
    )
    def test_a_bad_row(
        self, target: Catalog, tmp_path: Path, column: str, value: Any, fault: str
    ) -> None:
        good: dict[str, Any] = {
            name: LINE.get(name, "")
            for name in ("database", "table", "path", "layer", "writer_id", "size_bytes")
        } | {
            "row_count": 0,
            "min_time": 0,
            "max_time": 1,
            "chunk_time": 0,
            "min": None,
            "max": "{}",
        }
        rows = [good, good | {column: value}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        with pytest.raises(InvalidEntry) as caught:
            load(str(tmp_path / "a.parquet"), "parquet", Writer(target))
        row = 1 if isinstance(value, float) else 2  # one float makes it a column of floats
        assert f"a.parquet: row {row}: " in str(caught.value)
        assert fault in str(caught.value)
        assert target.databases() == []


def test_every_odd_value_goes_through_a_line(target: Catalog) -> None:
    out = io.BytesIO()
    ndjson.Sink(out).entries(odd_entries())
    found = [each.value for each in ndjson.read(io.BytesIO(out.getvalue()), "memory")]
    assert repr(found) == repr(odd_entries())
    assert any(each.min_data == ODD for each in odd_entries())
