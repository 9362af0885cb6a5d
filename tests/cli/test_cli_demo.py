"""The demo: the first thing that anybody sees."""

from __future__ import annotations

import hashlib
import shlex
import sys
from pathlib import Path

import pytest
from conftest import Cli, write_lake

from gigapi_metadata import IndexEntry, connect
from gigapi_metadata.cli import main
from gigapi_metadata.cli.demo_lake import HOUR, START, planned_files

FIELDS = [
    "folder", "catalog", "database", "table", "files", "rows", "size_bytes", "registered",
    "write_seconds", "register_seconds", "min_time", "max_time", "min_time_iso", "max_time_iso",
    "queries", "plans",
]  # fmt: skip


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        total.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return total.hexdigest()


def test_it_tells_what_it_did_and_the_commands_it_names_work(
    cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py"])
    result = cli("demo")
    assert (result.code, result.err) == (0, "")
    assert all(len(line) <= 100 or line.startswith("  /") for line in result.lines)
    assert f"wrote       {len(planned_files())} files" in result.out
    commands = [shlex.split(line) for line in result.lines if " -m gigapi_metadata " in line]
    assert len(commands) == 4
    for command in commands:
        assert command[:3] == [sys.executable, "-m", "gigapi_metadata"]
        assert main(command[3:]) == 0
        assert capsys.readouterr().out
    assert result.lines[-1] == "  rm -r demo-lake"


def test_json(cli: Cli) -> None:
    found = cli("demo", "here", "--json").json
    assert list(found) == FIELDS
    assert found["files"] == found["registered"] == len(planned_files())
    assert (found["min_time"] - START) // HOUR == 0
    assert len(list(Path("here").rglob("*.parquet"))) == found["files"]


def test_a_late_file_is_found_that_its_folder_would_hide(cli: Cli) -> None:
    queries = cli("demo", "--json").json["queries"]
    missed = {query["label"]: len(query["missed_by_folder_name"]) for query in queries}
    assert missed["two minutes past ten"] == 1
    assert missed["the whole morning"] == 0
    assert all(query["files"] > missed[query["label"]] for query in queries)


def test_again_it_makes_the_same_lake(cli: Cli) -> None:
    first = cli("demo", "--json").json
    before = digest(Path("demo-lake"))
    path = planned_files()[0].path
    assert cli("rm", "demo.readings", path, "--catalog", "demo-lake").code == 0
    again = cli("demo", "--json").json
    assert digest(Path("demo-lake")) == before
    assert again["registered"] == first["registered"]
    assert [each["files"] for each in again["queries"]] == [
        each["files"] for each in first["queries"]
    ]
    assert cli("plans", "demo.readings", "--kind", "drop", "--catalog", "demo-lake").code == 3


def test_what_is_not_ours_is_left_alone(cli: Cli) -> None:
    write_lake(Path("demo-lake"), 1)
    result = cli("demo")
    assert (result.code, result.out) == (1, "")
    assert "demo-lake is there already and is no demo's; name another folder" in result.err
    assert not Path("demo-lake/.gigapi").exists()
    Path("file").write_text("x")
    assert cli("demo", "file").code == 1
    Path("empty").mkdir()
    assert cli("demo", "empty").code == 0


def test_a_demo_that_holds_more_by_now_is_left_alone(cli: Cli) -> None:
    cli("demo")
    with connect("demo-lake") as catalog:
        catalog.table("mine", "t").batch([IndexEntry("mine", "t", "date=x/a.parquet", 1, 0, 1)])
    result = cli("demo")
    assert result.code == 1
    assert "demo-lake holds more than demo.readings by now" in result.err
    with connect("demo-lake") as catalog:
        assert len(catalog.table("mine", "t").get_all()) == 1


def test_the_environment_is_not_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_URL", "redis://127.0.0.1:1")
    assert cli("demo").code == 0


def test_on_redis(cli: Cli, redis_url: str) -> None:
    result = cli("demo", "--catalog", redis_url)
    assert result.code == 0
    assert f"in {redis_url}" in result.out
    assert f"redis-cli -u {redis_url} --scan --pattern '*:demo:readings*'" in result.out
    assert "Merges waiting for a worker" in result.out
    assert not Path("demo-lake/.gigapi/catalog.db").exists()
    again = cli("demo", "--catalog", redis_url)
    assert f"({len(planned_files())} were there from an earlier demo)" in again.out
    assert len(cli("plans", "demo.readings", "--catalog", redis_url, "--json").json) == 3


def test_somebody_elses_table_on_redis_is_left_alone(cli: Cli, redis_url: str) -> None:
    with connect(redis_url) as catalog:
        index = catalog.table("demo", "readings")
        index.batch([IndexEntry("demo", "readings", "date=2024/a.parquet", 1, 0, 1)])
        result = cli("demo", "--catalog", redis_url)
        assert (result.code, result.out) == (1, "")
        assert "holds 1 file that no demo wrote; use another catalog" in result.err
        assert len(index.get_all()) == 1
    assert not Path("demo-lake/demo").exists()
