"""What a review of the command line found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from cli_lab import Cli, write_lake, write_parquet


class TestTablesThatAreGone:
    def test_their_files_have_vanished(self, cli: Cli) -> None:
        write_lake(Path("lake"), 2)
        paths = write_lake(Path("lake"), 3, "db", "other")
        assert cli("scan", "lake").code == 0
        shutil.rmtree("lake/db/other")
        result = cli("scan", "lake", "--json")
        assert result.code == 0
        assert (result.json["found"], result.json["bad"]) == (2, [])
        assert [each["path"] for each in result.json["vanished"]] == paths
        assert {each["table"] for each in result.json["vanished"]} == {"other"}
        text = cli("scan", "lake")
        assert "vanished" in text.out
        assert f"vanished: db.other {paths[0]}" in text.err

    def test_they_are_not_pruned_while_there_is_not_one_file(self, cli: Cli) -> None:
        write_lake(Path("lake"), 2)
        write_lake(Path("lake"), 3, "db", "other")
        assert cli("scan", "lake").code == 0
        shutil.rmtree("lake/db/other")
        Path("lake/db/t/data/date=2024-01-15/hour=00/file0.1.parquet").unlink()
        result = cli("scan", "lake", "--prune")
        assert result.code == 1
        assert "1 removed from the catalog; NOT the others" in result.out
        assert len(cli("files", "db.other", "--catalog", "lake", "--paths").lines) == 3
        assert len(cli("files", "db.t", "--catalog", "lake", "--paths").lines) == 1

    def test_an_empty_root_reports_all_and_prunes_nothing(self, cli: Cli) -> None:
        write_lake(Path("lake"), 2)
        assert cli("scan", "lake").code == 0
        shutil.rmtree("lake/db")
        result = cli("scan", "lake", "--prune", "--json")
        assert result.code == 1
        assert result.json["prune_refused"]
        assert (result.json["pruned"], len(result.json["vanished"])) == (0, 2)
        assert len(cli("files", "db.t", "--catalog", "lake", "--paths").lines) == 2

    def test_tables_without_files_in_the_catalog_are_not_mentioned(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        write_lake(Path("lake"), 1, "db", "cold")
        layers = ["--layers", "hot=lake,ttl=1h", "--layers", "cold=cold"]
        assert cli("scan", "lake", *layers, "--layer", "cold").code == 0
        shutil.rmtree("lake/db/cold")
        summary = cli("scan", "lake", *layers, "--layer", "hot", "--json").json
        assert summary["vanished"] == []
        assert [each["table"] for each in summary["tables"]] == ["t"]


class TestFilesOutsideOfTables:
    def test_are_counted(self, cli: Cli) -> None:
        write_lake(Path("lake"), 2)
        assert cli("scan", "lake").err == ""
        for place in ("a", "db/b", "db/t/c", "db/t/data2/d", "x/data/e", "db/t/x/data/f"):
            write_parquet(Path("lake", f"{place}.parquet"))
        for place in (".hidden/a", "_temporary/a", "db/.a", "db/_a"):
            write_parquet(Path("lake", f"{place}.parquet"))
        for root in ("lake", "lake/", "./lake", Path("lake").absolute()):
            result = cli("scan", root)
            assert result.code == 0
            assert result.err == (
                "6 Parquet files lie outside <db>/<table>/data and were not registered\n"
            )
            assert cli("scan", root, "--json").json["outside"] == 6

    def test_one_of_them(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        write_parquet(Path("lake/a.parquet"))
        assert (
            "1 Parquet file lies outside <db>/<table>/data and was not" in cli("scan", "lake").err
        )

    def test_in_one_tables_folder_there_are_none(self, cli: Cli) -> None:
        write_parquet(Path("plain/a.parquet"))
        result = cli("scan", "plain", "--database", "db", "--table", "t", "--json")
        assert result.json["outside"] == 0


class TestSuggestions:
    def test_name_only_options_of_the_command(self, cli: Cli) -> None:
        def error(*words: str) -> str:
            result = cli(*words)
            assert result.code == 2
            return result.err

        assert "did you mean --prune?" in error("scan", "lake", "--prun")
        assert "see gigapi-metadata --help" in error("files", "db.t", "--prun")
        assert "did you mean --catalog?" in error("files", "db.t", "--catalgo", "lake")
        assert "did you mean --catalog?" in error("--catalgo", "lake", "files", "db.t")
        assert "see gigapi-metadata --help" in error("--prun", "scan", "lake")
        assert "did you mean --prune?" in error("--catalog", "files", "scan", "lake", "--prun")
        assert "did you mean --prune?" in error("--json", "scan", "lake", "--prun")


def test_a_time_that_is_out_of_range_is_told_in_its_unit(cli: Cli) -> None:
    file = Path("lake/db/t/data/a.parquet")
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"time": pa.array([10**15], pa.timestamp("ms"))}), file)
    result = cli("scan", "lake")
    assert result.code == 1
    assert "holds a time 1000000000000000 milliseconds from 1970, outside the years" in result.err
