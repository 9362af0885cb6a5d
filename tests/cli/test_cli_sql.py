"""`sql`: its outputs, its errors, and its prompt at a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli_lab import DAY_START, HOUR, Cli

TOTAL = "SELECT count(*) AS rows, sum(value) AS total FROM db.t"
FIRST = f"SELECT * FROM db.t WHERE __timestamp < {DAY_START + HOUR}"


def test_a_table(lake: list[str], cli: Cli) -> None:
    result = cli("sql", TOTAL)
    assert (result.code, result.err) == (0, "")
    assert [cell.strip() for cell in result.lines[4].strip("│").split("│")] == ["18", "18"]


def test_csv(lake: list[str], cli: Cli) -> None:
    result = cli(
        "sql", "--csv", "SELECT 1 AS \"a,b\", NULL, 'it''s \"x\"', 1.50 AS d, true, [1, 2]"
    )
    assert result.lines[0].startswith('"a,b",NULL,')
    assert result.lines[1] == '1,,"it\'s ""x""",1.50,true,"[1, 2]"'


@pytest.mark.parametrize("form", ["--json", "--ndjson"])
def test_json(lake: list[str], cli: Cli, form: str) -> None:
    query = "SELECT 9007199254740993 AS i, 'nan'::DOUBLE AS f, 'é' AS s, NULL AS n, {'a': [1]} AS x"
    lines = cli("sql", form, f"{query} UNION ALL {query}").lines
    row = '{"i":9007199254740993,"f":null,"s":"é","n":null,"x":{"a":[1]}}'
    assert lines == ([row, row] if form == "--ndjson" else ["[", f"{row},", row, "]"])


def test_what_duckdb_explains(lake: list[str], cli: Cli) -> None:
    lines = cli("sql", f"EXPLAIN {FIRST}").lines
    assert any("READ_PARQUET" in line for line in lines)
    assert max(map(len, lines)) < 100


def test_no_rows(lake: list[str], cli: Cli) -> None:
    for option, expected in (
        ("--json", "[]\n"),
        ("--ndjson", ""),
        ("--csv", "__timestamp,value\n"),
    ):
        result = cli("sql", option, "SELECT * FROM db.t WHERE value > 99")
        assert (result.code, result.out) == (0, expected)


def test_parquet(lake: list[str], cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    target.write_text("an older one")
    assert cli("sql", "--parquet", target, FIRST).code == 0
    assert pq.read_table(target)["value"].to_pylist() == [0, 1, 2]
    result = cli("sql", "--parquet", target, "SELECT error('stop') FROM db.t")
    assert result.code == 1
    assert pq.read_table(target).num_rows == 3
    assert sorted(os.listdir(tmp_path)) == ["lake", "out.parquet"]


def test_explain(lake: list[str], cli: Cli) -> None:
    result = cli("sql", "--explain", f"{FIRST} AND value < 99")
    assert "  reads      1 of 6 files, " in result.out
    assert f"  read       {lake[0]}" in result.lines
    assert "5 by time" in result.out
    found = cli("sql", "--explain", "--json", "SELECT * FROM db.t WHERE value > 99").json
    assert [(each["files"], each["read"], len(each["left_out"])) for each in found] == [(6, [], 6)]
    assert cli("sql", "--explain", "SELECT 1").err == "it reads no files\n"


@pytest.mark.parametrize(
    "words", [["sql"], ["sql", "-"], ["sql", "-f", "-"], ["sql", "-f", "q.sql"]]
)
def test_where_the_query_is_read_from(
    lake: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    Path("q.sql").write_text(f"-- how many\n{TOTAL};\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOTAL}\n;"))
    assert cli(*words, "--ndjson").out == '{"rows":18,"total":18}\n'


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (
            ["selec 1"],
            1,
            'Parser Error: syntax error at or near "selec"\nLINE 1: selec 1\n        ^',
        ),
        (["SELECT x FROM db.t"], 1, "LINE 1: SELECT x FROM db.t\n               ^"),
        (["SELECT sum('a' || value) FROM db.t"], 1, "No function matches"),
        (["FROM '/etc/passwd'"], 1, "there is no table /etc/passwd in the catalog"),
        (["DROP TABLE t"], 1, "this is no query"),
        ([""], 2, "the query is empty"),
        (["SELECT 1", "-f", "x"], 2, "argument --file: not allowed with argument QUERY"),
        (["-f", "nowhere.sql"], 1, "nowhere.sql: No such file"),
        (["--csv", "--json", "SELECT 1"], 2, "argument --csv: not allowed with argument --json"),
        (["--csv", "--explain", "SELECT 1"], 2, "not allowed with argument --explain"),
        (["--csv", "--ndjson", "SELECT 1"], 2, "not allowed with argument --csv"),
        (["--parquet", "no/where.parquet", "SELECT 1"], 1, "No such file"),
    ],
)
def test_errors(lake: list[str], cli: Cli, words: list[str], code: int, error: str) -> None:
    result = cli("sql", *words)
    assert (result.code, result.out) == (code, "")
    assert error in result.err
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 3


def test_a_folder_that_is_named(lake: list[str], cli: Cli, tmp_path: Path) -> None:
    os.rename("db", tmp_path / "db")
    assert cli("sql", TOTAL).code == 1
    assert cli("sql", "--root", tmp_path, "--ndjson", TOTAL).out == '{"rows":18,"total":18}\n'


# Ctrl-C is for the processes whose controlling terminal it is typed at.
ON_ITS_TERMINAL = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("gigapi_metadata", run_name="__main__", alter_sys=True)
"""


class Terminal:
    """The prompt, at a terminal of its own."""

    def __init__(self, state: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._rest = b""
        environment = {**os.environ, "TERM": "dumb", "XDG_STATE_HOME": str(state)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_ITS_TERMINAL, "sql"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, text: str, keys: str = "") -> str:
        """What is shown until `text` is, while `keys` are typed every now and then."""
        seen, deadline = self._rest, time.monotonic() + 60
        while text.encode() not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([self._ours], [], [], 1)[0]:
                seen += os.read(self._ours, 65536)
            else:
                self.type(keys)
        found, text_, self._rest = seen.partition(text.encode())
        return (found + text_).decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_the_prompt(lake: list[str], tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "state")
    try:
        terminal.until("sql> ")
        terminal.type("\\d\n")
        assert "db.t\r\n" in terminal.until("sql> ")
        terminal.type("\\?\n")
        assert "the tables\r\n" in terminal.until("sql> ")
        terminal.type("SELECT count(*) + 4000\n")
        terminal.until("... ")
        terminal.type("FROM db.t;\n")
        assert "4018" in terminal.until("sql> ")
        terminal.type("SELECT max(val\t) + 7000 FROM db.t;\n")
        assert "7002" in terminal.until("sql> ")
        terminal.type("selec;\n")
        assert "syntax error" in terminal.until("sql> ")
        terminal.type("SELECT forgotten")
        terminal.until("sql> ", keys="\x03")
        terminal.type("\\explain SELECT * FROM db.t;\n")
        assert "6 of 6 files" in terminal.until("sql> ")
        terminal.type("SELECT count(*) FROM range(100000000000) a(x) WHERE x * x % 7 = 3;\n")
        terminal.until("stopped", keys="\x03")
        terminal.until("sql> ")
        terminal.type("exit\n")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()
    history = tmp_path / "state/gigapi-metadata/sql_history"
    assert "SELECT max(value" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
