"""What SQL must not do, tried as an attacker would."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from sql_lab import register, write

from gigapi_metadata import Catalog, IndexEntry, QueryFailed, StorageError, connect
from gigapi_metadata.sql.engine import Engine


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of every layer."""
    file = tmp_path / "secret.csv"
    file.write_text("word\nhunter2\n")
    return file


FORBIDDEN = [
    "FROM '{file}'",
    'SELECT * FROM "{file}"',
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM READ_TEXT('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM main.read_csv('{file}')",
    "SELECT * FROM system.main.read_text('{file}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT * FROM query('FROM ''{file}''')",
    "SELECT * FROM query_table('{file}')",
    "SELECT * FROM json_execute_serialized_sql('[]')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "SELECT n FROM db.t WHERE sensor IN (SELECT word FROM '{file}')",
    "WITH x AS (FROM read_csv('{file}')) FROM x",
    "SELECT 1 UNION ALL FROM '{file}'",
    "SELECT * FROM db.t JOIN read_csv('{file}') c ON true",
    "SELECT * FROM db.t, LATERAL (FROM read_csv('{file}'))",
    "SELECT * FROM (PIVOT '{file}' ON word USING count(*))",
    "SELECT * FROM (UNPIVOT (FROM '{file}') ON word)",
    "DESCRIBE '{file}'",
    "SUMMARIZE FROM '{file}'",
    "EXPLAIN FROM '{file}'",
    "EXPLAIN ANALYZE SELECT * FROM read_csv('{file}')",
    "SELECT * FROM range((SELECT count(*) FROM '{file}'))",
    "SELECT 1 ORDER BY (SELECT word FROM '{file}')",
    "SELECT 1 LIMIT (SELECT count(*) FROM '{file}')",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_master",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY db.t FROM '{file}'",
    "ATTACH '{folder}/x.db'",
    "INSTALL httpfs",
    "LOAD '{file}'",
    "SET enable_external_access = true",
    "PRAGMA database_list",
    "CREATE TABLE x AS SELECT 1",
    "CREATE MACRO m() AS TABLE FROM '{file}'",
    "INSERT INTO db.t VALUES (1)",
    "DELETE FROM db.t",
    "DROP TABLE db.t",
    "CALL pragma_version()",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPLAIN ANALYZE SELECT 1; SELECT 2",
    "SELECT getenv('HOME')",
    "EXPORT DATABASE '{folder}/out'",
    "SHOW TABLES",
    "SELECT * FROM local_frame",
    "SELECT * FROM db.t AT (VERSION => 1)",
    "",
    ";",
    "-- nothing",
]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_it_reads_the_tables_and_nothing_else(catalog: Catalog, secret: Path, query: str) -> None:
    local_frame = pa.table({"x": [1]})  # DuckDB would find it by its name
    assert local_frame
    text = query.replace("{file}", str(secret)).replace("{folder}", str(secret.parent))
    with pytest.raises(QueryFailed) as caught:
        catalog.sql(text).fetchall()
    assert "hunter2" not in str(caught.value)
    assert os.listdir(secret.parent) == [secret.name]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT " + "(" * 5000,
        "SELECT " + "abs(" * 900 + "1" + ")" * 900,
        "SELECT " + "abs(" * 190 + "1" + ")" * 190,
        "SELECT " + "(SELECT " * 300 + "1" + ")" * 300,
        "SELECT 1 FROM db.t WHERE " + "NOT " * 900 + "true",
        "SELECT " + "9" * 5000,
    ],
)
def test_a_query_that_no_parser_should_see(catalog: Catalog, query: str) -> None:
    with pytest.raises(QueryFailed, match=r"can't be parsed: it (is nested|holds a number)"):
        catalog.sql(query)


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_text('{file}')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/x.db'",
        "SET threads = 1",
        "SET GLOBAL enable_external_access = true",
        "SET allowed_directories = ['/']",
        "FROM glob('{folder}/*')",
        "INSTALL httpfs",
    ],
)
def test_duckdb_itself_is_locked(lake: Path, secret: Path, statement: str) -> None:
    """Behind the check of the query there is another wall."""
    import duckdb

    text = statement.replace("{file}", str(secret)).replace("{folder}", str(secret.parent))
    connection = Engine((), str(lake)).connect()
    with pytest.raises(duckdb.Error, match=r"disabled|locked|Cannot"):
        connection.execute(text).fetchall()


def test_a_path_is_a_name_and_no_pattern(tmp_path: Path) -> None:
    with connect(tmp_path) as catalog:
        data = tmp_path / "db/t/data"
        wild = ["*", "?", "[ab]", "a'b", 'a"b', "{a,b}", "**", "x];--", "%41", "~", "$HOME", "a b"]
        for number, name in enumerate([*wild, "a", "b", "ab", "A"]):
            write(data, 0, name, pa.table({"time": pa.array([number], pa.int64())}))
        entries = register(catalog, data, "db", "t")
        table = catalog.table("db", "t")
        table.batch(None, [entry for entry in entries if entry.min_time >= len(wild)])
        found = catalog.sql("SELECT time FROM db.t ORDER BY ALL").fetchall()
        assert found == [(number,) for number in range(len(wild))]


def test_odd_folders_of_a_layer(tmp_path: Path) -> None:
    root = tmp_path / "it's [1] *"
    write(root / "db/t/data", 0, "a", pa.table({"time": pa.array([5], pa.int64())}))
    with connect(root) as catalog:
        register(catalog, root / "db/t/data", "db", "t")
        assert catalog.sql("FROM db.t").fetchall() == [(5,)]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_out_of_the_layer_is_not_followed(tmp_path: Path, what: str) -> None:
    outside = write(tmp_path / "outside", 0, "a", pa.table({"time": pa.array([1], pa.int64())}))
    root = tmp_path / "lake"
    folder = root / "db/t/data/date=2024-01-15/hour=00"
    folder.parent.mkdir(parents=True)
    if what == "file":
        folder.mkdir()
        (folder / "a.1.parquet").symlink_to(outside)
    else:
        folder.symlink_to(outside.parent)
    with connect(root) as catalog:
        entry = IndexEntry("db", "t", "date=2024-01-15/hour=00/a.1.parquet", 9, 1, 1)
        catalog.table("db", "t").batch([entry])
        with pytest.raises(StorageError, match="link"):
            catalog.sql("FROM db.t")


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    write(real / "db/t/data", 0, "a", pa.table({"time": pa.array([5], pa.int64())}))
    link.symlink_to(real)
    with connect(link) as catalog:
        register(catalog, link / "db/t/data", "db", "t")
        assert catalog.sql("FROM db.t").fetchall() == [(5,)]


def test_names_that_are_no_names(catalog: Catalog) -> None:
    for name in ('"../x".t', 'db."../../x"', 'db."a:b"', '"".t', 'db."*"'):
        with pytest.raises(QueryFailed):
            catalog.sql(f"SELECT * FROM {name}")


def test_an_error_marks_its_place(catalog: Catalog) -> None:
    with pytest.raises(QueryFailed) as caught:
        catalog.sql("SELECT n,\n       nope\nFROM db.t a JOIN db.u b USING (n) WHERE b.level < 5")
    assert str(caught.value).splitlines()[-2:] == ["LINE 2:        nope", "               ^"]
    with pytest.raises(QueryFailed) as caught:
        catalog.sql("SELECT 'é', sensor::INT FROM db.t").fetchall()
    assert str(caught.value).splitlines()[-2:] == [
        "LINE 1: SELECT 'é', sensor::INT FROM db.t",
        "                          ^",
    ]
    with pytest.raises(QueryFailed, match=r"did you mean db\.t"):
        catalog.sql("SELECT * FROM db.tt")
    with pytest.raises(QueryFailed, match=r"ambiguous; write db\.t or other\.t"):
        catalog.sql("SELECT * FROM t")
