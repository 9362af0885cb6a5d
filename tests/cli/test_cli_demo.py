"""The demo: the first thing that anybody sees."""

from __future__ import annotations

import hashlib
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Cli, Result, write_lake

from gigapi_metadata import IndexEntry, connect
from gigapi_metadata.cli import demo_upkeep, main
from gigapi_metadata.cli.demo_lake import HOUR, START, planned_files

FIELDS = [
    "folder", "catalog", "database", "table", "files", "rows", "size_bytes", "registered",
    "write_seconds", "register_seconds", "min_time", "max_time", "min_time_iso", "max_time_iso",
    "queries", "plans", "layers", "maintenance",
]  # fmt: skip


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        total.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return total.hexdigest()


@pytest.fixture
def without_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra `worker` were not installed."""
    monkeypatch.setattr(demo_upkeep, "is_possible", lambda: False)


def run_each_command(result: Result, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Run the commands to try next; what they are."""
    commands = [
        shlex.split(line, comments=True) for line in result.lines if " -m gigapi_metadata " in line
    ]
    for command in commands:
        assert command[:3] == [sys.executable, "-m", "gigapi_metadata"]
        assert main(command[3:]) == 0
        assert capsys.readouterr().out or "--once" in command
    return commands


def test_it_tells_what_it_did_and_the_commands_it_names_work(
    cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py"])
    result = cli("demo", "my lake")
    assert (result.code, result.err) == (0, "")
    assert all(len(line) <= 100 or line.startswith("  /") for line in result.lines)
    assert f"wrote       {len(planned_files())} files" in result.out
    assert "The same 72,000 rows" in result.out
    assert len(run_each_command(result, capsys)) == 6
    assert result.lines[-1] == "  rm -r 'my lake'"


@pytest.mark.usefixtures("without_worker")
def test_without_the_worker_it_says_what_to_install(
    cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py"])
    result = cli("demo")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("pip install 'gigapi-metadata[worker]'") == 1
    assert "The same" not in result.out
    assert len(run_each_command(result, capsys)) == 4
    assert cli("demo", "--json").json["maintenance"] is None


@pytest.mark.parametrize(
    ("missing", "possible"), [("duckdb", False), ("obstore", False), ("", True)]
)
def test_what_the_worker_needs(
    missing: str, possible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_upkeep, "find_spec", lambda name: None if name == missing else name)
    assert demo_upkeep.is_possible() is possible


def test_json(cli: Cli) -> None:
    found = cli("demo", "here", "--json").json
    assert list(found) == FIELDS
    assert found["files"] == found["registered"] == len(planned_files())
    assert (found["min_time"] - START) // HOUR == 0
    assert [layer["url"] for layer in found["layers"]] == [
        str(Path("here").absolute()),
        str(Path("here/cold").absolute()),
    ]


def test_it_merges_moves_and_drops_and_the_rows_stay_the_same(cli: Cli) -> None:
    found = cli("demo", "--json").json
    upkeep, files = found["maintenance"], len(planned_files())
    steps = upkeep["steps"]
    assert [step["step"] for step in steps] == ["before", "compacted", "tiered", "dropped"]
    assert [step["files"] for step in steps] == [files, 3, 3, 3]
    assert [step["on_disk"] for step in steps] == [files, files + 3, files + 5, 3]
    assert [step["layers"] for step in steps[::3]] == [
        {"hot": files, "cold": 0},
        {"hot": 1, "cold": 2},
    ]
    assert {step["rows"] for step in steps} == {upkeep["rows"]} == {found["rows"]}
    assert upkeep["same_rows"] is upkeep["same_answers"] is True
    assert steps[-1]["size_bytes"] < steps[0]["size_bytes"] == found["size_bytes"]
    for step in steps:
        assert [query["label"] for query in step["queries"]] == [
            query["label"] for query in found["queries"]
        ]
    assert len(list(Path("demo-lake/demo/readings/data").rglob("*.parquet"))) == 1
    assert len(list(Path("demo-lake/cold/demo/readings/data").rglob("*.parquet"))) == 2


def test_an_answer_that_changes_is_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(([[("roof", 1)]], [[("roof", 2)]]))
    monkeypatch.setattr(demo_upkeep, "answer", lambda *_: (next(answers), []))
    result = cli("demo")
    assert result.code == 1
    assert "compacted, a query's answer is not what it was before" in result.err


@pytest.mark.usefixtures("without_worker")
def test_a_late_file_is_found_that_its_folder_would_hide(cli: Cli) -> None:
    queries = cli("demo", "--json").json["queries"]
    missed = {query["label"]: len(query["missed_by_folder_name"]) for query in queries}
    assert missed["two minutes past ten"] == 1
    assert missed["the whole morning"] == 0
    assert all(query["files"] > missed[query["label"]] for query in queries)


@pytest.mark.usefixtures("without_worker")
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


def test_again_after_its_upkeep_only_its_own_files_are_replaced(cli: Cli) -> None:
    first = cli("demo", "--json").json
    mine = [Path("demo-lake/cold/mine.parquet"), Path("demo-lake/notes.txt")]
    for file in mine:
        file.write_text("mine")
    again = cli("demo", "--json").json
    assert again["registered"] == len(planned_files())
    assert again["maintenance"]["checksum"] == first["maintenance"]["checksum"]
    assert all(file.read_text() == "mine" for file in mine)
    assert len([file for file in Path("demo-lake").rglob("*.parquet") if file not in mine]) == 3


def test_links_are_not_followed(cli: Cli, tmp_path: Path) -> None:
    cli("demo")
    elsewhere = tmp_path / "elsewhere"
    Path("demo-lake/cold").rename(elsewhere)
    Path("demo-lake/cold").symlink_to(elsewhere)
    result = cli("demo")
    assert result.code == 1
    assert "demo-lake/cold is a link, which no demo made; name another folder" in result.err
    assert len(list(elsewhere.rglob("*.parquet"))) == 2


def test_its_layers_are_its_own(cli: Cli) -> None:
    for words in (["--layers", "a=b", "demo"], ["demo", "--layers", "a=b"]):
        result = cli(*words)
        assert result.code == 2
        assert "the demo has layers of its own" in result.err
    assert not Path("demo-lake").exists()


@pytest.mark.usefixtures("without_worker")
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


@pytest.mark.usefixtures("without_worker")
def test_a_demo_that_holds_more_by_now_is_left_alone(cli: Cli) -> None:
    cli("demo")
    with connect("demo-lake") as catalog:
        catalog.table("mine", "t").batch([IndexEntry("mine", "t", "date=x/a.parquet", 1, 0, 1)])
    result = cli("demo")
    assert result.code == 1
    assert "demo-lake holds more than demo.readings by now" in result.err
    with connect("demo-lake") as catalog:
        assert len(catalog.table("mine", "t").get_all()) == 1


@pytest.mark.usefixtures("without_worker")
def test_the_environment_is_not_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_URL", "redis://127.0.0.1:1")
    assert cli("demo").code == 0


@pytest.mark.one_server
def test_on_redis(
    cli: Cli,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py"])
    result = cli("demo", "--catalog", redis_url)
    assert result.code == 0
    assert f"in {redis_url}" in result.out
    assert f"redis-cli -u {redis_url} --scan --pattern '*:demo:readings*'" in result.out
    assert "Merges waiting for a worker" in result.out
    assert "The same 72,000 rows" in result.out
    assert not Path("demo-lake/.gigapi/catalog.db").exists()
    assert len(run_each_command(result, capsys)) == 6
    again = cli("demo", "another", "--catalog", redis_url, "--json").json
    assert again["registered"] == len(planned_files())
    assert again["maintenance"]["steps"][-1]["files"] == 3
    assert {plan["kind"] for plan in plans(cli, redis_url)} == {"merge", "move"}


def plans(cli: Cli, redis_url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli(
        "plans", "demo.readings", "--catalog", redis_url, "--json"
    ).json
    return found


@pytest.mark.usefixtures("without_worker")
def test_again_on_redis_without_the_worker(cli: Cli, redis_url: str) -> None:
    assert cli("demo", "--catalog", redis_url).code == 0
    again = cli("demo", "--catalog", redis_url)
    assert f"({len(planned_files())} were there from an earlier demo)" in again.out
    assert len(plans(cli, redis_url)) == 3


@pytest.mark.one_server
def test_again_on_redis_after_one_that_was_stopped(
    cli: Cli, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were merged and wait to be deleted: they come again all the same."""
    with monkeypatch.context() as patch:
        patch.setattr("gigapi_metadata.worker.maintenance._at_once", lambda *_: 1 / 0)
        assert cli("demo", "--catalog", redis_url).code == 1
    assert "drop" in {plan["kind"] for plan in plans(cli, redis_url)}
    again = cli("demo", "--catalog", redis_url, "--json").json
    assert again["registered"] == len(planned_files())
    assert again["maintenance"]["steps"][-1]["on_disk"] == 3


@pytest.mark.one_server
def test_drops_of_others_are_left_to_them(cli: Cli, redis_url: str) -> None:
    with connect(redis_url, drop_grace_s=0) as catalog:
        index = catalog.table("demo", "readings")
        index.batch([IndexEntry("demo", "readings", "date=2024/a.parquet", 1, 0, 1)])
        index.batch((), ["date=2024/a.parquet"])
    assert cli("demo", "--catalog", redis_url).code == 0
    assert [plan["paths"] for plan in plans(cli, redis_url) if plan["kind"] == "drop"] == [
        ["date=2024/a.parquet"]
    ]


def test_somebody_elses_table_on_redis_is_left_alone(cli: Cli, redis_url: str) -> None:
    with connect(redis_url) as catalog:
        index = catalog.table("demo", "readings")
        index.batch([IndexEntry("demo", "readings", "date=2024/a.parquet", 1, 0, 1)])
        result = cli("demo", "--catalog", redis_url)
        assert (result.code, result.out) == (1, "")
        assert "holds 1 file that no demo wrote; use another catalog" in result.err
        assert len(index.get_all()) == 1
    assert not Path("demo-lake/demo").exists()
