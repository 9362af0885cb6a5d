"""Registering trees of Parquet files, again and again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cli_lab import DAY_START, HOUR, Cli, write_lake, write_parquet
from scanning import DATA, SUMMARY_FIELDS, counts, files, scan

from gigapi_metadata import IndexEntry, Layer, connect
from gigapi_metadata.scan import reading


class TestWholeLakes:
    def test_a_summary_for_people(self, cli: Cli) -> None:
        write_lake(Path("lake"))
        result = cli("scan", "lake")
        assert (result.code, result.err) == (0, "")
        assert result.lines[0].startswith("6 files in 1 table, ")
        assert result.lines[1].split() == ["registered", "6"]
        assert len(result.lines) == 2

    def test_json(self, cli: Cli) -> None:
        write_lake(Path("lake"))
        summary = cli("scan", "lake", "--json").json
        assert list(summary) == SUMMARY_FIELDS
        (table,) = summary["tables"]
        assert table["root"] == str(DATA)
        assert (table["database"], table["table"], table["registered"]) == ("db", "t", 6)

    def test_again_and_again(self, cli: Cli) -> None:
        paths = write_lake(Path("lake"))
        assert scan(cli) == {"found": 6, "registered": 6}
        before = files(cli)
        assert [entry["path"] for entry in before] == paths
        plans = cli("plans", "db.t", "--catalog", "lake", "--json").json
        for _ in range(2):
            assert scan(cli) == {"found": 6, "unchanged": 6}
        assert scan(cli, "--reread") == {"found": 6, "unchanged": 6}
        assert files(cli) == before
        after = cli("plans", "db.t", "--catalog", "lake", "--json").json
        assert [plan["id"] for plan in after] == [plan["id"] for plan in plans]

    def test_several_tables(self, cli: Cli) -> None:
        for database, table in (("a", "x"), ("a", "y.z"), ("b.c", "x"), ("ü", "ß")):
            write_lake(Path("lake"), 2, database, table)
        (Path("lake") / "a" / "not-a-table").mkdir()
        (Path("lake") / ".hidden" / "x" / "data").mkdir(parents=True)
        (Path("lake") / "file").write_text("")
        summary = cli("scan", "lake", "--json").json
        assert counts(summary) == {"found": 8, "registered": 8}
        tables = [(each["database"], each["table"]) for each in summary["tables"]]
        assert tables == [("a", "x"), ("a", "y.z"), ("b.c", "x"), ("ü", "ß")]
        assert cli("databases", "--catalog", "lake").lines == ["a", "b.c", "ü"]

    def test_one_table(self, cli: Cli) -> None:
        write_parquet(Path("plain/2024/a.parquet"))
        write_parquet(Path("plain/b.parquet"), DAY_START + HOUR)
        words = ["plain", "--database", "d.1", "--table", "t"]
        assert cli("scan", *words).code == 0
        found = cli("files", "--database", "d.1", "t", "--catalog", "plain", "--paths").lines
        assert found == ["2024/a.parquet", "b.parquet"]
        assert counts(cli("scan", *words, "--json").json) == {"found": 2, "unchanged": 2}
        Path("plain/b.parquet").unlink()
        summary = cli("scan", *words, "--json").json
        assert [each["path"] for each in summary["vanished"]] == ["b.parquet"]

    def test_the_default_catalog_lies_in_root_whatever_its_name(self, cli: Cli) -> None:
        for name in ("lake.db", "a b", "ü"):
            write_lake(Path(name), 1)
            assert cli("scan", name).code == 0
            assert Path(name, ".gigapi", "catalog.db").is_file()
            assert cli("scan", f"{name}/").code == 0

    def test_small_batches_and_many_processes_give_the_same(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "BEFORE_PROCESSES", 3)
        monkeypatch.setattr(reading, "AT_ONCE", 2)
        paths = write_lake(Path("lake"), 31)
        assert scan(cli, "--batch-size", 4, "--jobs", 3) == {"found": 31, "registered": 31}
        assert [entry["path"] for entry in files(cli)] == paths
        plans = cli("plans", "db.t", "--catalog", "lake", "--json").json
        assert [path for plan in plans for path in plan["paths"]] == paths

    def test_what_new_entries_get(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        assert scan(cli, "--layers", "hot=/x", "--writer-id", "w") == {"found": 1, "registered": 1}
        (entry,) = files(cli)
        assert (entry["layer"], entry["writer_id"]) == ("hot", "w")
        two = ["--layers", "hot=/x", "--layers", "cold=/y"]
        assert scan(cli, *two, "--layer", "cold") == {"found": 1, "updated": 1}
        (entry,) = files(cli)
        assert (entry["layer"], entry["writer_id"]) == ("cold", "w")

    def test_a_dry_run_writes_nothing(self, cli: Cli) -> None:
        write_lake(Path("lake"))
        assert scan(cli, "--dry-run") == {"found": 6, "registered": 6}
        assert not Path("lake/.gigapi").exists()
        assert "dry run: nothing was changed" in cli("scan", "lake", "--dry-run").out

    def test_nothing_there(self, cli: Cli) -> None:
        Path("empty").mkdir()
        result = cli("scan", "empty")
        assert result.code == 3
        assert "no DATABASE/TABLE/data folders" in result.err
        Path("lake/db/t/data").mkdir(parents=True)
        result = cli("scan", "lake")
        assert result.code == 3
        assert "lake holds no Parquet files" in result.err


class TestChanges:
    def test_new_and_rewritten_files(self, cli: Cli) -> None:
        paths = write_lake(Path("lake"))
        scan(cli)
        write_parquet(DATA / "date=2024-01-15/hour=23/new.1.parquet", DAY_START + 23 * HOUR)
        write_parquet(DATA / paths[2], DAY_START + 2 * HOUR, rows=7)
        assert scan(cli) == {"found": 7, "registered": 1, "updated": 1, "unchanged": 5}
        assert [entry["row_count"] for entry in files(cli)] == [3, 3, 7, 3, 3, 3, 3]
        assert scan(cli) == {"found": 7, "unchanged": 7}

    def test_a_rewrite_of_the_same_size_is_seen_by_its_time(self, cli: Cli) -> None:
        (path,) = write_lake(Path("lake"), 1)
        scan(cli)
        size = (DATA / path).stat().st_size
        write_parquet(DATA / path, DAY_START + 5 * HOUR)
        assert (DATA / path).stat().st_size == size
        future = (DATA / path).stat().st_mtime_ns + 10**9
        os.utime(DATA / path, ns=(future, future))
        assert scan(cli) == {"found": 1, "updated": 1}
        assert files(cli)[0]["min_time"] == DAY_START + 5 * HOUR
        assert scan(cli) == {"found": 1, "unchanged": 1}

    def test_what_others_registered_is_left_alone(self, cli: Cli) -> None:
        """GigAPI notes no statistics, and merges keep their sources' chunk_time, an old one."""
        paths = write_lake(Path("lake"), 2)
        entries = [
            IndexEntry(
                *("db", "t", path, (DATA / path).stat().st_size, start, start + 2 * 10**9),
                layer="default",
                row_count=3,
                chunk_time=chunk_time,
                writer_id="gigapi",
            )
            for path, start, chunk_time in zip(
                paths, (DAY_START, DAY_START + HOUR), (5, 2**62), strict=True
            )
        ]
        with connect("lake", [Layer("/", "default")]) as catalog:
            catalog.table("db", "t").batch(entries)
            assert scan(cli) == {"found": 2, "unchanged": 2}
            assert scan(cli, "--reread") == {"found": 2, "unchanged": 2}
            assert catalog.table("db", "t").get_all() == entries

    def test_an_update_keeps_writer_and_layer(self, cli: Cli) -> None:
        (path,) = write_lake(Path("lake"), 1)
        entry = IndexEntry("db", "t", path, 1, 0, 1, layer="default", writer_id="gigapi")
        with connect("lake", [Layer("/", "default")]) as catalog:
            catalog.table("db", "t").batch([entry])
        words = ["--layers", "default=/x"]
        assert scan(cli, *words) == {"found": 1, "updated": 1}
        (found,) = files(cli)
        assert (found["layer"], found["writer_id"]) == ("default", "gigapi")
        assert found["row_count"] == 3

    def test_removed_and_merged_files_do_not_come_back(self, cli: Cli) -> None:
        paths = write_lake(Path("lake"), 4)
        scan(cli)
        with connect("lake") as catalog:
            index = catalog.table("db", "t")
            index.batch((), paths[:1])
        new = "date=2024-01-15/hour=00/new.1.parquet"
        write_parquet(DATA / new)
        expected = {"found": 5, "registered": 1, "unchanged": 3, "leaving": 1}
        assert scan(cli) == expected
        assert paths[0] not in [entry["path"] for entry in files(cli)]
        assert "waiting to be deleted" in cli("scan", "lake").out

    def test_vanished_files_are_reported_and_pruned_on_demand(self, cli: Cli) -> None:
        paths = write_lake(Path("lake"), 30)
        scan(cli)
        (DATA / paths[1]).unlink()
        shutil.rmtree(DATA / "date=2024-01-16")
        gone = [paths[1], *paths[24:]]
        for words in ([], ["--dry-run", "--prune"]):
            assert scan(cli, *words) == {"found": 23, "unchanged": 23, "vanished": 7}
            assert len(files(cli)) == 30
        result = cli("scan", "lake")
        assert result.code == 0
        assert "--prune removes them" in result.out
        assert result.err.splitlines() == [f"vanished: db.t {path}" for path in gone]
        assert scan(cli, "--prune") == {
            "found": 23,
            "unchanged": 23,
            "vanished": 7,
            "pruned": 7,
        }
        assert [entry["path"] for entry in files(cli)] == [p for p in paths if p not in gone]
        assert scan(cli) == {"found": 23, "unchanged": 23}

    def test_a_long_list_is_cut_for_people(self, cli: Cli) -> None:
        paths = write_lake(Path("lake"), 110)
        scan(cli)
        for path in paths[:105]:
            (DATA / path).unlink()
        lines = cli("scan", "lake").err.splitlines()
        assert len(lines) == 101
        assert lines[-1] == "vanished: … and 5 more; --json lists them all"
        assert len(cli("scan", "lake", "--json").json["vanished"]) == 105

    def test_nothing_is_pruned_when_nothing_is_there(self, cli: Cli) -> None:
        write_lake(Path("lake"))
        scan(cli)
        shutil.rmtree(DATA)
        DATA.mkdir()
        result = cli("scan", "lake", "--prune")
        assert result.code == 1
        assert "is the storage mounted?" in result.out
        assert len(files(cli)) == 6

    def test_another_layers_files_have_not_vanished(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        layers = [Layer("/a", "hot"), Layer("/b", "cold")]
        with connect("lake", layers) as catalog:
            entry = IndexEntry("db", "t", "date=2024-01-15/x.1.parquet", 1, 0, 1, layer="cold")
            catalog.table("db", "t").batch([entry])
        words = ["--layers", "hot=/a", "--layers", "cold=/b", "--layer", "hot", "--prune"]
        assert scan(cli, *words) == {"found": 1, "registered": 1}
