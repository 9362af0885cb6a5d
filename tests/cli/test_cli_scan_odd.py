"""Scanning odd trees: bad files, foreign names, links, readers that die; and into Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import DAY_START, HOUR, Cli, write_lake, write_parquet
from scanning import DATA, counts, files, scan

from gigapi_metadata import connect
from gigapi_metadata.scan import ScanOptions, TableReport, Tree, reading, scan_table


class TestOddTrees:
    @pytest.fixture
    def odd(self) -> dict[str, str]:
        """A lake of bad files -> why each is bad; and one good file."""
        write_lake(Path("lake"), 1)
        folder = DATA / "date=2024-01-15" / "hour=00"
        whole = (folder / "file0.1.parquet").read_bytes()
        reasons = {}
        for name, content, reason in (
            ("text", b"hello, I am no Parquet file", "not a Parquet file"),
            ("empty", b"", "is empty"),
            ("truncated", whole[: len(whole) // 2], "cut short"),
            ("damaged", whole[:-40] + b"x" * 32 + whole[-8:], ""),
            ("ctrl\n\x1b[2Jname", whole, "control character"),
        ):
            (folder / f"{name}.parquet").write_bytes(content)
            reasons[f"{name}.parquet"] = reason
        (folder / os.fsdecode(b"latin-\xff.parquet")).write_bytes(whole)
        reasons[os.fsdecode(b"latin-\xff.parquet")] = "Unicode"
        write_parquet(folder / "rowless.parquet", rows=0)
        reasons["rowless.parquet"] = "no rows"
        write_parquet(folder / "timeless.parquet", column="when")
        reasons["timeless.parquet"] = "no time column"
        os.mkfifo(folder / "pipe.parquet")
        reasons["pipe.parquet"] = "not a file"
        return reasons

    def test_bad_files_do_not_stop_the_rest(self, cli: Cli, odd: dict[str, str]) -> None:
        write_parquet(DATA / "date=2024-01-15/hour=01/zzz.parquet", DAY_START + HOUR)
        summary = cli("scan", "lake", "--json")
        assert summary.code == 1
        names = [entry["path"].rpartition("/")[2] for entry in files(cli)]
        assert names == ["file0.1.parquet", "zzz.parquet"]
        assert summary.json["registered"] == 2
        bad = summary.json["bad"]
        assert len(bad) == len(odd)
        for fault in bad:
            name = fault["path"].rpartition("/")[2]
            matching = [reason for known, reason in odd.items() if shown(known) == shown(name)]
            assert matching, name
            assert matching[0] in fault["reason"]

    def test_bad_files_are_listed_for_people(self, cli: Cli, odd: dict[str, str]) -> None:
        result = cli("scan", "lake")
        assert result.code == 1
        assert ["bad", str(len(odd))] in [line.split() for line in result.lines]
        lines = result.err.splitlines()
        assert len(lines) == len(odd)
        assert all(line.startswith("bad: db.t date=2024-01-15/hour=00/") for line in lines)
        assert "\x1b" not in result.err
        assert result.err.count("timeless.parquet") == 1
        assert "--time-column" in result.err

    def test_another_time_column(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        write_parquet(DATA / "date=2024-01-15/timeless.parquet", column="when")
        assert cli("scan", "lake").code == 1
        assert cli("scan", "lake", "--time-column", "when").code == 0
        words = ["--time-column", "value", "--reread"]
        result = cli("scan", "lake", "--json", *words).json
        assert counts(result) == {"found": 2, "updated": 2}
        assert {entry["max_time"] for entry in files(cli)} == {2}

    def test_folders_that_can_not_be_tables(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        write_lake(Path("lake"), 1, "a:b", "t")
        write_lake(Path("lake"), 1, "db", "t*")
        result = cli("scan", "lake", "--json")
        assert result.code == 1
        assert [each["path"] for each in result.json["bad"]] == ["a:b/t", "db/t*"]
        assert result.json["registered"] == 1

    def test_unreadable_folders_and_files(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = write_lake(Path("lake"), 3)
        scan(cli)
        if os.getuid() == 0:  # whom no permission stops
            real = os.scandir

            def scandir(path: str) -> Any:
                if str(path).endswith("hour=01"):
                    raise PermissionError(13, "Permission denied", path)
                return real(path)

            with monkeypatch.context() as patch:
                patch.setattr(os, "scandir", scandir)
                result = cli("scan", "lake", "--prune", "--json")
        else:
            (DATA / paths[1]).parent.chmod(0)
            result = cli("scan", "lake", "--prune", "--json")
            (DATA / paths[1]).parent.chmod(0o755)
        assert result.code == 1
        (fault,) = result.json["bad"]
        assert fault["path"] == "date=2024-01-15/hour=01"
        assert "Permission denied" in fault["reason"]
        assert result.json["vanished"] == []

    def test_hidden_and_temporary_files_are_passed_over(self, cli: Cli) -> None:
        write_lake(Path("lake"), 1)
        folder = DATA / "date=2024-01-15"
        for name in (".x.parquet", "_x.parquet", "_tmp/x.parquet", ".trash/x.parquet"):
            write_parquet(folder / name)
        for name in ("metadata.json", "x.parquet.tmp", "x.parquet.crc", "parquet"):
            (folder / name).write_text("x")
        assert scan(cli) == {"found": 1, "registered": 1}

    def test_links_are_followed_when_asked_and_once(self, cli: Cli) -> None:
        write_lake(Path("lake"), 2)
        write_parquet(Path("elsewhere/hour=07/a.parquet"), DAY_START + 7 * HOUR)
        write_parquet(Path("elsewhere.parquet"), DAY_START + 8 * HOUR)
        (DATA / "date=2024-01-15" / "loop").symlink_to("../..")
        (DATA / "date=2024-01-15" / "self").symlink_to("self")
        (DATA / "a-copy").symlink_to("date=2024-01-15")
        (DATA / "linked").symlink_to(Path("elsewhere").absolute())
        (DATA / "linked-again").symlink_to(Path("elsewhere").absolute())
        Path("elsewhere/back").symlink_to(DATA.absolute())
        (DATA / "alias.parquet").symlink_to("date=2024-01-15/hour=00/file0.1.parquet")
        (DATA / "file.parquet").symlink_to(Path("elsewhere.parquet").absolute())
        assert scan(cli) == {"found": 2, "registered": 2, "links": 6}
        assert scan(cli, "--follow-links") == {"found": 4, "registered": 2, "unchanged": 2}
        expected = ["linked/hour=07/a.parquet", "file.parquet"]
        assert [entry["path"] for entry in files(cli)][2:] == expected
        assert scan(cli, "--follow-links", "--prune") == {"found": 4, "unchanged": 4}
        assert scan(cli, "--prune") == {"found": 2, "unchanged": 2, "links": 6}
        (DATA / "dangling.parquet").symlink_to("nowhere")
        assert cli("scan", "lake").code == 0
        result = cli("scan", "lake", "--follow-links")
        assert result.code == 1
        assert "dangling.parquet: can't be read" in result.err

    def test_links_instead_of_a_database_table_or_data_folder(self, cli: Cli) -> None:
        write_lake(Path("real"), 1)
        write_lake(Path("lake"), 1)
        Path("lake/other").symlink_to(Path("real/db").absolute())
        Path("lake/db/t2").symlink_to(Path("real/db/t").absolute())
        Path("lake/db/t3").mkdir()
        Path("lake/db/t3/data").symlink_to(Path("real/db/t/data").absolute())
        result = cli("scan", "lake")
        assert result.code == 0
        listed = "link: db/t2\nlink: db/t3/data\nlink: other\n3 symbolic links passed over"
        assert listed in result.err
        assert "--follow-links" in result.err
        assert cli("databases", "--catalog", "lake").lines == ["db"]
        assert scan(cli, "--follow-links") == {"found": 4, "registered": 3, "unchanged": 1}

    def test_a_link_as_root(self, cli: Cli) -> None:
        write_lake(Path("real"), 2)
        Path("lake").symlink_to("real")
        assert scan(cli) == {"found": 2, "registered": 2}

    def test_the_order_is_always_the_same(self, tmp_path: Path) -> None:
        for name in ("b/2", "a/3", "b/10", "c", "a/1/x"):
            write_parquet(tmp_path / f"{name}.parquet")
        found = [(group, [file.path for file in files]) for group, files in Tree(tmp_path).groups()]
        assert found == [
            ("", ["c.parquet"]),
            ("a", ["a/3.parquet", "a/1/x.parquet"]),
            ("b", ["b/10.parquet", "b/2.parquet"]),
        ]


class TestReading:
    def test_a_file_that_ends_its_reader_costs_itself_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = write_lake(tmp_path, 9)
        monkeypatch.setattr(reading, "BEFORE_PROCESSES", 0)
        monkeypatch.setattr(
            reading,
            "_CHILD",
            "import os; from gigapi_metadata.scan import reading; real = reading.read_file\n"
            "def read_file(source, path):\n"
            "    if 'file4' in path: os.kill(os.getpid(), 11)\n"
            "    return real(source, path)\n"
            "reading.read_file = read_file; reading.serve()",
        )
        report = self.scan(tmp_path, jobs=2, batch_size=3)
        assert report.registered == 8
        ((path, reason),) = report.bad
        assert path == paths[4]
        assert reason == "reading it ended the reading process (exit code -11)"

    def test_a_reader_that_can_not_start_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
    ) -> None:
        write_lake(tmp_path / "lake", 3)
        monkeypatch.setattr(reading, "BEFORE_PROCESSES", 0)
        monkeypatch.setattr(reading, "_CHILD", "import sys; sys.exit(7)")
        result = cli("scan", "lake", "--jobs", 2)
        assert result.code == 1
        assert "can't be started to read files (exit code 7); use one job" in result.err

    def test_a_file_that_goes_while_we_scan_is_no_fault(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = write_lake(tmp_path, 3)
        real = Tree.groups

        def groups(tree: Tree) -> Iterator[Any]:
            for group in real(tree):
                (tmp_path / "db/t/data" / paths[1]).unlink()
                yield group

        monkeypatch.setattr(Tree, "groups", groups)
        report = self.scan(tmp_path)
        assert (report.found, report.registered, report.bad) == (2, 2, [])

    def test_progress_adds_up(self, tmp_path: Path) -> None:
        write_lake(tmp_path, 30)
        steps: list[int] = []
        for _ in range(2):
            steps.clear()
            with connect(tmp_path) as catalog:
                index = catalog.table("db", "t")
                scan_table(index, tmp_path / "db/t/data", ScanOptions(), steps.append)
            assert sum(steps) == 30

    def scan(self, root: Path, **options: Any) -> TableReport:
        with connect(root) as catalog:
            index = catalog.table("db", "t")
            return scan_table(index, root / "db/t/data", ScanOptions(**options))


class TestOnRedis:
    def words(self, redis_url: str) -> list[str]:
        return ["--catalog", redis_url]

    def test_paths_that_gigapi_can_not_live_with_are_bad(self, cli: Cli, redis_url: str) -> None:
        paths = write_lake(Path("lake"), 5)
        for number in range(5):
            write_parquet(DATA / f"m={number}" / "x.parquet")
        write_parquet(DATA / "flat.parquet")
        words = ["--catalog", redis_url, "--batch-size", "4"]
        result = cli("scan", "lake", *words, "--json")
        assert result.code == 1
        assert counts(result.json) == {"found": 11, "registered": 5, "bad": 6}
        assert "crashes a GigAPI reader" in result.json["bad"][0]["reason"]
        assert not result.json["bad"][0]["reason"].startswith("entry")
        assert cli("files", "db.t", "--paths", *words[:2]).lines == paths
        assert not Path("lake/.gigapi").exists()

    def test_every_command(self, cli: Cli, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = write_lake(Path("lake"), 6)
        monkeypatch.setenv("GIGAPI_METADATA_URL", redis_url)
        for expected in ({"registered": 6}, {"unchanged": 6}):
            assert scan(cli) == {"found": 6, **expected}
        assert cli("databases").lines == ["db"]
        assert cli("tables", "db").lines == ["t"]
        assert len(cli("paths", "db.t").lines) == 6
        assert cli("files", "db.t", "--paths", "--limit", 2).lines == paths[:2]
        assert cli("show", "db.t", paths[0]).code == 0
        assert cli("rm", "db.t", paths[0], "date=x/none").lines == paths[:1]
        assert cli("plans", "db.t").code == 0
        assert cli("plans", "db.t", "--kind", "drop", "--all").code == 0
        assert scan(cli) == {"found": 6, "unchanged": 5, "leaving": 1}


def shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
