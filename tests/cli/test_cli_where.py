"""`files --where` and `--explain`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_lab import DAY_START, HOUR, Cli, write_parquet


@pytest.fixture
def lake(cli: Cli, working_folder: Path) -> list[str]:
    """db.t with a file an hour; `value` is 0 to n + 1 in that of hour n."""
    paths = []
    for hour in range(4):
        path = f"date=2024-01-15/hour={hour:02}/a.1.parquet"
        file = working_folder / "db" / "t" / "data" / path
        write_parquet(file, DAY_START + hour * HOUR, rows=2 + hour)
        paths.append(path)
    assert cli("scan", ".").code == 0
    return paths


def test_where_leaves_out_files(cli: Cli, lake: list[str]) -> None:
    assert cli("files", "db.t", "--paths", "--where", "value > 2").lines == lake[2:]
    assert cli("files", "db.t", "--paths", "--where", "value > 2 and value < 0").code == 3
    late = f"make_timestamp_ns(__timestamp) >= '{'2024-01-15 03:00'}'::timestamp"
    assert cli("files", "db.t", "--paths", "--where", late).lines == lake[3:]
    found = cli("files", "db.t", "--where", "value > 2", "--limit", 1, "--json").json
    assert [each["path"] for each in found] == lake[2:3]


def test_explain_shows_every_files_fate(cli: Cli, lake: list[str]) -> None:
    found = cli("files", "db.t", "--where", "value > 3", "--explain")
    assert found.code == 0
    assert found.lines[0] == "db.t: where value > 3"
    assert found.lines[1].startswith("keeps 1 of 4 files, ")
    assert "date=2024-01-15/hour=00: skips its file; value > 3: value is 0 to 1" in found.lines
    assert found.lines[-1] == "  keep a.1.parquet"
    found = cli("files", "db.t", "--where", "value > 3", "--explain", "--json")
    assert (found.json["kept"], found.json["skipped"]) == (1, 3)
    assert [each["path"] for each in found.json["files"]] == lake
    assert [each["kept"] for each in found.json["files"]] == [False, False, False, True]
    assert sum(each["kept"] for each in found.json["folders"]) == 1
    assert cli("files", "db.nothing", "--explain").code == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "value >"], "argument --where: 'value >': syntax error"),
        (["--where", ""], "argument --where: the condition is empty"),
        (["--explain", "--paths"], "not allowed with argument --paths"),
        (["--explain", "--limit", "3"], "not allowed with argument --limit"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: Cli, lake: list[str], words: list[str], message: str
) -> None:
    found = cli("files", "db.t", *words)
    assert found.code == 2
    assert message in found.err
    assert found.out == ""
