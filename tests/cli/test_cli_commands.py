"""Looking at a catalog and removing from it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from cli_lab import DAY_START, HOUR, Cli

from gigapi_metadata import IndexEntry, connect

ENTRY_FIELDS = [
    "database", "table", "path", "layer", "writer_id", "iteration", "size_bytes", "row_count",
    "min_time", "max_time", "chunk_time", "min_time_iso", "max_time_iso", "chunk_time_iso", "min",
    "max",
]  # fmt: skip
PLAN_FIELDS = [
    "kind", "state", "id", "layer", "writer_id", "dir", "iteration", "paths", "size_bytes", "due_s",
    "attempts", "error", "path_to", "layer_to", "due_iso", "overdue_s",
]  # fmt: skip


class TestFiles:
    def test_a_table_for_people(self, cli: Cli, lake: list[str]) -> None:
        result = cli("files", "db.t")
        assert result.code == 0
        heading, *rows = result.lines
        assert heading.split() == ["FROM", "TO", "ROWS", "SIZE", "PATH"]
        assert [row.split()[-1] for row in rows] == lake
        assert rows[1].split()[:3] == ["2024-01-15T01:00:00Z", "2024-01-15T01:00:02Z", "3"]
        assert len({row.index("date=") for row in rows}) == 1

    def test_json_is_exact(self, cli: Cli, lake: list[str]) -> None:
        found = cli("files", "db.t", "--json").json
        assert [list(entry) for entry in found] == [ENTRY_FIELDS] * 6
        assert found[1] | {"size_bytes": 0, "chunk_time": 0, "chunk_time_iso": ""} == {
            "database": "db",
            "table": "t",
            "path": lake[1],
            "layer": "",
            "writer_id": "",
            "iteration": 1,
            "size_bytes": 0,
            "row_count": 3,
            "min_time": DAY_START + HOUR,
            "max_time": DAY_START + HOUR + 2 * 10**9,
            "chunk_time": 0,
            "min_time_iso": "2024-01-15T01:00:00Z",
            "max_time_iso": "2024-01-15T01:00:02Z",
            "chunk_time_iso": "",
            "min": {"__timestamp": DAY_START + HOUR, "value": 0},
            "max": {"__timestamp": DAY_START + HOUR + 2 * 10**9, "value": 2},
        }
        status = os.stat(Path("db/t/data", lake[1]))
        assert found[1]["size_bytes"] == status.st_size
        assert found[1]["chunk_time"] == status.st_mtime_ns

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--after", "2024-01-15T04:00:00Z"], [4, 5]),
            (["--before", "2024-01-15T01:00:00Z"], [0, 1]),
            (["--before", "2024-01-15T00:59:59.999999999Z"], [0]),
            (["--after", "2024-01-15T01:00:02Z", "--before", "2024-01-15T02:00:00Z"], [1, 2]),
            (["--after", "2024-01-15T01:00:02.000000001Z", "--before", "2024-01-15T02Z"], None),
            (["--after", str(DAY_START + 5 * HOUR)], [5]),
            (["--folder", "date=2024-01-15/hour=03"], [3]),
            (["--iteration", "1"], [0, 1, 2, 3, 4, 5]),
            (["--limit", "2"], [0, 1]),
            (["--limit", "99"], [0, 1, 2, 3, 4, 5]),
            (["--before", "-1h", "--after=-9999w"], [0, 1, 2, 3, 4, 5]),
            (["--layer", ""], [0, 1, 2, 3, 4, 5]),
        ],
    )
    def test_filters(
        self, cli: Cli, lake: list[str], words: list[str], expected: list[int] | None
    ) -> None:
        result = cli("files", "db.t", "--paths", *words)
        if expected is None:
            assert result.code == 2
        else:
            assert (result.code, result.lines) == (0, [lake[number] for number in expected])

    @pytest.mark.parametrize(
        "words",
        [
            ["--after", "2025-01-01"],
            ["--iteration", "2"],
            ["--layer", "x"],
            ["--folder", "x"],
            ["--database", "other"],
        ],
    )
    def test_nothing_found(self, cli: Cli, lake: list[str], words: list[str]) -> None:
        result = cli("files", "db.t", *words)
        assert (result.code, result.out) == (3, "")
        assert result.err.startswith("gigapi-metadata: nothing found: ")
        result = cli("files", "db.t", "--json", *words)
        assert (result.code, result.json) == (3, [])
        assert cli("files", "db.t", "--paths", *words).out == ""

    def test_a_limit_says_what_it_left_out(self, cli: Cli, lake: list[str]) -> None:
        assert cli("files", "db.t", "--limit", 2).err == "the first 2 of 6 files\n"
        assert cli("files", "db.t", "--limit", 6).err == ""

    def test_layers_and_writers_are_shown_where_there_are_any(self, cli: Cli) -> None:
        with connect(".") as catalog:
            entry = IndexEntry("db", "t", "date=x/a.1.parquet", 1, 0, 1, writer_id="w1")
            catalog.table("db", "t").batch([entry])
        heading, row = cli("files", "db.t").lines
        assert heading.split() == ["FROM", "TO", "ROWS", "SIZE", "WRITER", "PATH"]
        assert row.split() == [
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.000000001Z",
            *["0", "1", "B", "w1", "date=x/a.1.parquet"],
        ]

    def test_names_with_dots_and_spaces(self, cli: Cli) -> None:
        with connect(".") as catalog:
            for database, table in (("my.db", "t.1"), ("a b", "c.d")):
                entry = IndexEntry(database, table, "date=x/ü ß.parquet", 1, 0, 1)
                catalog.table(database, table).batch([entry])
        assert cli("files", "--database", "my.db", "t.1", "--paths").lines == ["date=x/ü ß.parquet"]
        assert cli("files", "a b.c.d").code == 0
        assert cli("files", "my.db.t.1").code == 3
        assert cli("tables", "my.db").lines == ["t.1"]


class TestLists:
    def test_names_one_a_line(self, cli: Cli, lake: list[str]) -> None:
        assert cli("databases").out == "db\n"
        assert cli("tables", "db").out == "t\n"
        assert cli("paths", "db.t").lines == [path.rpartition("/")[0] for path in lake]

    def test_json(self, cli: Cli, lake: list[str]) -> None:
        assert cli("databases", "--json").json == ["db"]
        assert cli("--json", "tables", "db").json == ["t"]
        assert len(cli("paths", "db.t", "--json").json) == 6

    @pytest.mark.parametrize("words", [["tables", "x"], ["paths", "db.x"], ["plans", "db.x"]])
    def test_nothing_found(self, cli: Cli, lake: list[str], words: list[str]) -> None:
        assert (cli(*words).code, cli(*words).out) == (3, "")
        assert (cli(*words, "--json").code, cli(*words, "--json").json) == (3, [])

    def test_an_empty_catalog(self, cli: Cli) -> None:
        with connect(".") as catalog:
            catalog.kv.put("x", b"")
        assert cli("databases").code == 3
        assert cli("databases", "--json").json == []


class TestShow:
    def test_every_field(self, cli: Cli, lake: list[str]) -> None:
        result = cli("show", "db.t", lake[1])
        assert result.code == 0
        shown = dict(line.split(maxsplit=1) for line in result.lines if line)
        assert shown["path"] == lake[1]
        assert shown["table"] == "db.t"
        assert shown["from"] == f"2024-01-15T01:00:00Z  ({DAY_START + HOUR})"
        assert shown["rows"] == "3"
        assert shown["layer"] == shown["writer"] == "-"
        assert shown["value"].split() == ["0", "2"]

    def test_json(self, cli: Cli, lake: list[str]) -> None:
        entry = cli("show", "db.t", lake[1], "--json").json
        assert entry == cli("files", "db.t", "--json").json[1]

    def test_an_unknown_path(self, cli: Cli, lake: list[str]) -> None:
        result = cli("show", "db.t", "date=x/a.parquet")
        assert (result.code, result.out) == (3, "")
        assert (result := cli("show", "db.t", "date=x/a.parquet", "--json")).code == 3
        assert result.json is None

    def test_a_terminal_is_not_upset(self, cli: Cli) -> None:
        with connect(".") as catalog:
            entry = IndexEntry("db", "t", "date=x/a.parquet", 1, 0, 1, min_data={"a": "\x1b[2J"})
            catalog.table("db", "t").batch([entry])
        result = cli("show", "db.t", "date=x/a.parquet")
        assert "\x1b" not in result.out
        assert "\\x1b[2J" in result.out


class TestRm:
    def test_what_is_there_goes_and_the_rest_is_named(self, cli: Cli, lake: list[str]) -> None:
        result = cli("rm", "db.t", lake[0], "date=x/a.parquet", lake[1], lake[0])
        assert (result.code, result.lines) == (0, [lake[0], lake[1]])
        assert "not in db.t: date=x/a.parquet" in result.err
        assert "2 files removed" in result.err
        assert cli("files", "db.t", "--paths").lines == lake[2:]
        drops = cli("plans", "db.t", "--kind", "drop", "--json").json
        assert [drop["paths"] for drop in drops] == [[lake[0]], [lake[1]]]

    def test_nothing_there(self, cli: Cli, lake: list[str]) -> None:
        assert cli("rm", "db.t", "date=x/a.parquet").code == 3
        result = cli("rm", "db.t", "date=x/a.parquet", "--json")
        assert result.code == 3
        assert result.json == {"removed": [], "missing": ["date=x/a.parquet"], "dry_run": False}

    def test_paths_from_stdin(
        self, cli: Cli, lake: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lake[:3]) + "\r\n\n"))
        assert cli("rm", "db.t", "-", lake[5]).lines == [*lake[:3], lake[5]]
        assert cli("files", "db.t", "--paths").lines == lake[3:5]

    def test_a_dry_run_changes_nothing(self, cli: Cli, lake: list[str]) -> None:
        result = cli("rm", "db.t", *lake, "--dry-run")
        assert (result.code, result.lines) == (0, lake)
        assert "6 files would be removed" in result.err
        assert cli("files", "db.t", "--paths").lines == lake

    def test_one_bad_path_and_nothing_is_removed(self, cli: Cli, lake: list[str]) -> None:
        assert cli("rm", "db.t", lake[0], "../x").code == 2
        assert cli("files", "db.t", "--paths").lines == lake


class TestPlans:
    def test_a_summary(self, cli: Cli, lake: list[str]) -> None:
        cli("rm", "db.t", lake[0])
        result = cli("plans", "db.t")
        assert result.code == 0
        heading, merge, drop = result.lines
        assert heading.split()[:6] == ["KIND", "LEVEL", "STATE", "PLANS", "FILES", "SIZE"]
        assert merge.split()[:5] == ["merge", "1", "waiting", "6", "6"]
        assert drop.split()[:6] == ["drop", "-", "waiting", "1", "1", "-"]

    def test_each_one_with_its_failures(self, cli: Cli, lake: list[str]) -> None:
        with connect(".", drop_grace_s=0) as catalog:
            index = catalog.table("db", "t")
            index.batch([IndexEntry("db", "t", "date=x/a.parquet", 1, 0, 1)])
            index.batch((), ["date=x/a.parquet"])
            plan = index.get_drop_queue("", "")
            assert plan is not None
            cli("rm", "db.t", *lake)
            leased = cli("plans", "db.t", "--state", "leased", "--json").json
            assert [each["paths"] for each in leased] == [["date=x/a.parquet"]]
            index.release(plan, "disk on fire")
        lines = cli("plans", "db.t", "--all", "--kind", "drop").lines
        assert len(lines) == 8
        assert [line for line in lines if "disk on fire" in line and plan.id in line]
        summary = cli("plans", "db.t", "--kind", "drop").lines[1].split()
        assert (summary[3], summary[-1]) == ("7", "1")

    def test_json(self, cli: Cli, lake: list[str]) -> None:
        plans = cli("plans", "db.t", "--json").json
        assert [list(plan) for plan in plans] == [PLAN_FIELDS] * 6
        assert [plan["paths"] for plan in plans] == [[path] for path in lake]
        assert {plan["kind"] for plan in plans} == {"merge"}

    def test_none_of_that_kind(self, cli: Cli, lake: list[str]) -> None:
        assert cli("plans", "db.t", "--kind", "move").code == 3
        assert cli("plans", "db.t", "--state", "leased", "--json").json == []
