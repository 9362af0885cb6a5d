"""A SQLite catalog that somebody hostile has written to: every command ends with a value or an
error of ours, and nothing outside the lake is touched."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fix_stores import entry

from gigapi_metadata import SQLiteIndex
from gigapi_metadata.cli import main

VALUES = [
    "'../../../victim/secret.1.parquet'",
    "'{victim}/secret.1.parquet'",
    "x'ff00fe'",  # bytes where text stands
    "'[[[['",
    "'{{\"a\":'",
    "-9223372036854775808",
    "9223372036854775807",
    "1e300",
    "''",
    "'x' || char(0) || 'y' || char(10) || char(27) || '[2J'",
    "CAST(x'c328' AS TEXT)",  # no UTF-8
    "replace(hex(zeroblob(50000)), '0', '[')",
]
COLUMNS = {
    "tables": "database name",
    "files": "dir name size_bytes min_time max_time layer row_count chunk_time min_data max_data "
    "writer_id span",
    "plans": "layer writer_id iteration dir leased position due_s id path path_to layer_to "
    "used_leases attempts error",
    "plan_files": "name total_bytes",
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with files, merges that wait and a drop."""
    file = tmp_path_factory.mktemp("template") / "catalog.db"
    rows = [[0, 10**9, 1]]
    with SQLiteIndex(file, "db", "t", merge_configurations=rows, drop_grace_s=0) as index:
        index.batch([entry(n, min_data={"v": 1}) for n in range(3)])
        index.batch([], [entry(0).path])
    return file


@pytest.mark.parametrize(
    ("table", "column"), [(table, name) for table, all_ in COLUMNS.items() for name in all_.split()]
)
def test_any_value_in_any_column(
    table: str,
    column: str,
    template: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    secret = victim / "secret.1.parquet"
    secret.write_text("secret")
    for number, value in enumerate(VALUES):
        lake = tmp_path / f"lake{number}"
        lake.mkdir()
        file = lake / "catalog.db"
        shutil.copyfile(template, file)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA ignore_check_constraints = ON")
            text = value.replace("{victim}", str(victim))
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {text}")
        for command in (
            ["files", "db.t"],
            ["files", "db.t", "--json"],
            ["plans", "db.t", "--all"],
            ["plans", "db.t", "--json"],
            ["worker", "--once", f"--root={lake}"],
        ):
            code = main(["--catalog", f"sqlite://{file}", *command])
            shown = capsys.readouterr()
            said = f"{command} with {text[:40]}: {shown.err[:300]}"
            assert code in (0, 1, 3), said
            assert "unexpected" not in shown.err, said
            assert "Traceback" not in shown.err, said
    assert secret.read_text() == "secret"
    assert sorted(victim.iterdir()) == [secret]


def test_a_trigger_in_the_file_can_call_nothing_that_does_harm(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    with SQLiteIndex(file, "db", "t") as index:
        index.batch([entry(1)])
        connection = index.connection._open(creates=False)
        assert connection is not None
        with closing(connection):
            assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
