"""The commands, as a user calls them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from copy_lab import content, made, odd_entries

from gigapi_metadata import connect
from gigapi_metadata.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIGAPI_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A catalog with 67 entries of db.t and one of other.t, and their plans."""
    url = f"sqlite://{tmp_path}/from.db"
    with connect(url, merge_configurations=[[10, 10**9, 1]]) as catalog:
        catalog.table("db", "t").import_entries(odd_entries())
        catalog.table("other", "t").batch([made(1, database="other", layer="")])
    return url


def test_there_and_back(cli: Cli, url: str, redis_url: str, tmp_path: Path) -> None:
    result = cli("copy", url, redis_url)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("69 files and 1 plan of 2 tables copied")
    assert cli("copy", redis_url, "json://./folders").code == 0
    assert cli("copy", url, "json://./folders", "--verify").code == 0
    with connect(url) as one, connect("json://./folders") as other:
        assert content(one) == content(other)
    again = cli("copy", redis_url, "json://./folders", "--json").json
    assert {name: again[name] for name in ("entries", "written", "plans", "plans_written")} == {
        "entries": 69, "written": 0, "plans": 1, "plans_written": 0,
    }  # fmt: skip


def test_one_table(cli: Cli, url: str) -> None:
    found = cli("copy", url, "to.db", "other", "--json").json
    assert [(each["database"], each["entries"]) for each in found["tables"]] == [("other", 1)]
    assert cli("copy", url, "to.db", "db.t").code == 0
    assert cli("copy", url, "to.db", "db.none").code == 3
    assert cli("copy", url, "to.db", "a:b").code == 2


def test_a_dry_run(cli: Cli, url: str, tmp_path: Path) -> None:
    result = cli("copy", url, "to.db", "--dry-run")
    assert result.code == 0
    assert "dry run" in result.out
    assert not (tmp_path / "to.db").exists()


def test_verify(cli: Cli, url: str) -> None:
    assert cli("copy", url, "to.db", "--verify").code == 1  # there is nothing yet
    cli("copy", url, "to.db")
    same = cli("copy", url, "to.db", "--verify")
    assert (same.code, same.err) == (0, "")
    with connect("to.db") as target:
        index = target.table("db", "t")
        index.batch(None, [made(1).path])
        index.import_entries([made(2, size_bytes=2**62), made(99)])
    result = cli("copy", url, "to.db", "--verify", "--json")
    assert result.code == 1
    assert {each["path"]: each["difference"] for each in result.json["differences"]} == {
        made(1).path: "missing", made(2).path: "different", made(99).path: "extra",
    }  # fmt: skip
    assert (result.json["compared"], result.json["missing"]) == (70, 1)
    text = cli("copy", url, "to.db", "--verify")
    assert text.code == 1
    assert "70 entries compared, 3 differ" in text.out
    assert f"different: db.t {made(2).path}: size_bytes: 102 here, {2**62} there" in text.err


def test_layers_of_both_sides(cli: Cli, tmp_path: Path) -> None:
    layers = ["--layers", f"hot={tmp_path}/a"]
    with connect("from.db") as catalog:
        catalog.table("db", "t").import_entries([made(1)])
    assert cli("copy", "from.db", f"json://{tmp_path}/a", *layers).code == 0
    to = ["--to-layers", f"hot={tmp_path}/b"]
    assert cli("copy", f"json://{tmp_path}/a", f"json://{tmp_path}/b", *layers).code == 2
    assert cli("copy", f"json://{tmp_path}/a", f"json://{tmp_path}/b", *layers, *to).code == 0
    assert (tmp_path / "b/db/t/data" / made(1).path.rpartition("/")[0] / "metadata.json").exists()
    cold = ["--to-layers", f"cold={tmp_path}/c"]
    result = cli("copy", f"json://{tmp_path}/a", f"json://{tmp_path}/c", *layers, *cold)
    assert (result.code, "layer 'hot' is unknown" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere.db", "to.db"], 1, "FROM: there is no catalog at nowhere.db"),
        (["from.db", "ftp://x"], 2, "argument TO is 'ftp://x'"),
        (["from.db", "./from.db"], 2, "the same catalog"),
        (["from.db"], 2, "required: TO"),
        (["redis://me:secret@127.0.0.1:1/0", "to.db"], 1, "127.0.0.1:1"),
    ],
)
def test_wrong_words(cli: Cli, url: str, words: list[str], code: int, message: str) -> None:
    result = cli("copy", *words)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert "secret" not in result.err


@pytest.mark.parametrize("name", ["all.ndjson", "all.parquet"])
def test_export_and_import(cli: Cli, url: str, name: str) -> None:
    result = cli("export", name, "--catalog", url)
    assert result.code == 0
    assert "69 files" in result.out
    result = cli("import", name, "--catalog", "to.db", "--json")
    assert (result.code, result.json["written"]) == (0, 69)
    assert cli("import", name, "--catalog", "to.db", "--json").json["written"] == 0
    assert cli("copy", url, "to.db", "--verify").code == 0
    assert cli("import", name, "other.t", "--catalog", "to2.db", "--json").json["written"] == 1


def test_export_to_stdout(url: str, capfdbinary: Any) -> None:
    assert main(["export", "-", "db", "--catalog", url, "--json"]) == 0
    captured = capfdbinary.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 68
    assert all(json.loads(line)["database"] == "db" for line in lines)
    assert b"68 files" in captured.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["export", "all.csv"], 2, "tells no format"),
        (["export", "-", "--format", "parquet"], 2, "can't be streamed"),
        (["export", "none/all.ndjson"], 1, "No such file"),
        (["import", "none.ndjson"], 1, "none.ndjson: No such file"),
        (["import", "bad.ndjson"], 1, "bad.ndjson: line 1: it is no entry or plan"),
        (["import", "empty.ndjson"], 3, "no entries"),
    ],
)
def test_wrong_files(cli: Cli, url: str, words: list[str], code: int, message: str) -> None:
    Path("bad.ndjson").write_text("{}\n")
    Path("empty.ndjson").write_text("")
    result = cli(*words, "--catalog", url)
    assert result.code == code
    assert message in result.err
    assert result.err.count("\n") == 1
