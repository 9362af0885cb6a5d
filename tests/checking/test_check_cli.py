"""`check`, `rebuild` and `reindex` as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from check_lab import Lake

from gigapi_metadata.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(lake: Lake, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*words: str) -> Result:
        capsys.readouterr()
        found = ["--catalog", lake.url]
        for layer in lake.layers:
            found += ["--layers", f"{layer.name}={layer.url}"]
        code = main([*found, *words])
        return Result(code, *capsys.readouterr())

    return run


def test_a_table_that_is_whole(lake: Lake, cli: Cli) -> None:
    lake.fill()
    result = cli("check", "db.t")
    assert (result.code, result.err) == (0, "")
    assert result.out == "db.t: 6 entries, 2 plans, 6 files\n  nothing is wrong\n"


def test_nothing_there(lake: Lake, cli: Cli) -> None:
    lake.fill()
    assert cli("check", "db.other").code == 3


@pytest.mark.parametrize("name", ["back\\slash", "two\nlines", "\udcff", "x" * 247])
def test_one_odd_name_stops_nothing(lake: Lake, cli: Cli, name: str) -> None:
    (entry,) = lake.fill(1, 1)
    odd = lake.file(entry.path).with_name(f"{name}.parquet")
    odd.write_bytes(b"junk")
    lake.age(odd)
    (lake.file("date=2024\\01")).mkdir()
    lake.write("orphan.1")
    code, out, _ = cli("check", "db.t", "--json", "--repair", "--backup", str(lake.folder))
    found = json.loads(out)
    assert (code, found["errors"]) == (1, [])
    illegal = [each["path"] for each in found["findings"] if each["kind"] == "illegal-name"]
    assert "date=2024\\01" in illegal
    assert len(illegal) + len(found["mended"]) == 3
    rebuilt = cli("rebuild", "--force", "--json").json
    assert sorted(each["path"] for each in rebuilt["tables"][0]["bad"]) == sorted(illegal)
    assert rebuilt["known"] == 1


def test_rebuilding_a_database_with_a_dot(lake: Lake, cli: Cli) -> None:
    lake.write("f.1")
    lake.file("").parents[1].rename(lake.folder / "hot" / "my.db")
    refused = cli("rebuild", "my.db.t")
    assert refused.code == 3
    assert "--database" in refused.err
    assert cli("rebuild", "--database", "my.db", "t", "--json").json["registered"] == 1


@pytest.mark.parametrize("deep", [[], ["--deep"]])
def test_a_file_that_was_cut_off_is_told_once(lake: Lake, cli: Cli, deep: list[str]) -> None:
    (entry,) = lake.fill(1, 1)
    file = lake.file(entry.path)
    file.write_bytes(file.read_bytes()[:200])
    words = ["check", "db.t", "--repair", "--backup", str(lake.folder), *deep]
    (found,) = cli(*words, "--json").json["findings"]
    assert (found["kind"], found["remedy"]) == ("unreadable-file", "")
    assert "200 bytes" in found["detail"]
    assert "`rm`" in found["detail"]
    code, out, err = cli(*words)
    assert (code, err) == (1, "")
    assert "nothing is wrong" not in out


def test_emptying_quarantine_leaves_nothing_behind(lake: Lake, cli: Cli) -> None:
    (entry,) = lake.fill(1, 1)
    backups = lake.folder / "backups"
    words = ["check", "db.t", "--repair", "--backup", str(backups)]
    refused = cli(*words)
    assert (refused.code, refused.out) == (2, "")
    assert f"--backup: {backups} does not exist" in refused.err
    backups.mkdir()
    lake.write("orphan.1")
    assert cli(*words).code == 0
    assert len(list(backups.iterdir())) == 1
    kept = lake.file(".gigapi-quarantine")
    (moment,) = kept.iterdir()
    moment.rename(kept / "20240101T000000Z")
    assert "mended 1 quarantined" in cli(*words).out
    assert len(list(backups.iterdir())) == 1, "the catalog was not touched"
    assert not kept.exists()
    assert lake.file(entry.path).exists()


def test_what_is_not_mended_is_wrong(lake: Lake, cli: Cli) -> None:
    (entry,) = lake.fill(1, 1)
    copy = lake.file(entry.path).with_name("copy.2.parquet")
    copy.write_bytes(lake.file(entry.path).read_bytes())
    lake.age(copy)
    code, out, err = cli("check", "db.t", "--repair", "--adopt", "--backup", str(lake.folder))
    assert code == 1
    assert "not mended: " in err
    assert "is registered, its rows would count twice" in err
    assert "nothing is wrong" not in out


def test_damage_is_shown_and_mended(lake: Lake, cli: Cli) -> None:
    entries = lake.fill()
    lake.file(entries[0].path).unlink()
    orphan = lake.write("orphan.1")
    shown = cli("check", "db.t")
    assert shown.code == 1
    assert entries[0].path in shown.out
    assert orphan in shown.out
    assert "--repair" in shown.err
    assert lake.file(orphan).exists()
    assert len(lake.index.get_all()) == 6
    listed = cli("check", "db.t", "--json")
    assert listed.code == 1
    assert listed.json["faults"] == 2
    assert {each["kind"] for each in listed.json["findings"]} == {"missing-file", "orphan"}
    folder = str(lake.folder)
    mended = cli("check", "db.t", "--repair", "--json", "--backup", folder)
    assert mended.code == 0, mended
    assert mended.json["faults"] == 0
    kinds = {each["kind"] for each in mended.json["mended"]}
    assert kinds == {"missing-file", "orphan", "dead-file-in-plan"}
    (backup,) = mended.json["backup"]
    assert backup.startswith(folder)
    assert cli("check", "db.t").code == 0
    # Nothing to mend: no backup is written.
    again = cli("check", "db.t", "--repair", "--json", "--backup", folder)
    assert (again.code, again.json["backup"], again.json["mended"]) == (0, [], [])
    # And taken back.
    assert cli("import", backup).code == 0
    assert len(lake.index.get_all()) == 6


def test_what_is_left_over_does_not_fail(lake: Lake, cli: Cli) -> None:
    """A removed file waits in a merge plan: a monitor stays quiet, people are told."""
    entries = lake.fill()
    lake.index.batch([], [entries[0], *entries[3:]])
    shown = cli("check", "db.t")
    assert shown.code == 0, shown
    assert shown.err == ""
    found, notes = shown.out.split("  notes: ")
    assert "found" not in found
    assert "noted 1 dead-plan" in notes
    assert "noted 1 dead-file-in-plan" in notes
    assert notes.endswith("  nothing is wrong\n")
    listed = cli("check", "db.t", "--json")
    assert (listed.code, listed.json["faults"], listed.json["notes"]) == (0, 0, 2)
    assert {each["level"] for each in listed.json["findings"]} == {"note"}
    tidied = cli("check", "db.t", "--repair", "--json", "--backup", str(lake.folder))
    assert (tidied.code, tidied.json["notes"], len(tidied.json["mended"])) == (0, 0, 2)


def test_what_cannot_be_mended_fails(lake: Lake, cli: Cli) -> None:
    for entry in lake.fill():
        lake.file(entry.path).unlink()
    result = cli("check", "db.t", "--repair")
    assert result.code == 1
    assert "is it mounted?" in result.out
    assert cli("check", "db.t", "--no-storage").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("db",),
        ("db.t", "--adopt"),
        ("db.t", "--min-age", "soon"),
        ("db.t", "--quarantine-age", "-1d"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], lake: Lake, cli: Cli) -> None:
    result = cli("check", *words)
    assert result.code == 2
    assert result.err.startswith("gigapi-metadata: error: ")


def test_adopting(lake: Lake, cli: Cli) -> None:
    lake.fill()
    path = lake.write("orphan.1")
    result = cli("check", "db.t", "--repair", "--adopt", "--backup", str(lake.folder))
    assert result.code == 0
    assert lake.index.get(path) is not None


def test_rebuilding(lake: Lake, cli: Cli) -> None:
    entries = lake.fill()
    refused = cli("rebuild")
    assert refused.code == 1
    assert "--force" in refused.err
    lake.forget(entries[0])
    assert len(lake.index.get_all()) == 5
    dry = cli("rebuild", "db", "--force", "--dry-run", "--json")
    assert (dry.code, dry.json["registered"], dry.json["known"]) == (0, 1, 5)
    assert len(lake.index.get_all()) == 5
    result = cli("rebuild", "db.t", "--force")
    assert result.code == 0
    assert "registered" in result.out
    assert lake.index.get_all() == entries
    assert cli("rebuild", "nowhere.t").code == 3
    (lake.file(entries[0].path).parent / "bad.parquet").write_bytes(b"x")
    assert cli("rebuild", "--force").code == 1


def test_reindex(lake: Lake, cli: Cli) -> None:
    entries = lake.fill()
    assert cli("reindex", "db.other").code == 3
    has_index = lake.kind == "redis"
    if has_index:
        path = entries[0].path
        dir, _, name = path.rpartition("/")
        cell = f"gigapi-metadata:cell:db:t:0:{dir}"
        content = lake.client.get(cell)
        lake.client.set(cell, content.replace(name.encode(), b"g" + name[1:].encode()))
        result = cli("check", "db.t")
        assert result.code == 1
        assert f"{path} is not listed" in result.out
    result = cli("reindex", "db.t")
    assert (result.code, result.out) == (0, "")
    assert ("made anew" if has_index else "nothing to do") in result.err
    assert cli("reindex", "db.t", "--json").json == {
        "database": "db",
        "table": "t",
        "reindexed": has_index,
    }
    assert cli("check", "db.t").code == 0
    assert lake.index.query(after=1) == entries
