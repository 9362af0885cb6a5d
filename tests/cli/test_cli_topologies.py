"""Every command on a cluster and behind sentinels: the same answers as on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_lab import DAY_START, Cli, Result, write_parquet
from fix_topologies import Cluster, Sentinels, wait_for

TABLES = ("t", "u", "v", "w")
HOURS = 2


@pytest.fixture(params=["cluster", "sentinels"])
def place(request: pytest.FixtureRequest) -> Cluster | Sentinels:
    found: Cluster | Sentinels = request.getfixturevalue(f"redis_{request.param}")
    return found


def fill(lake: Path) -> None:
    """Two files in each of some hours, in each of some tables; a cluster spreads those."""
    for table in TABLES:
        for number in range(2 * HOURS):
            hour = number // 2
            file = f"date=2024-01-15/hour={hour:02}/file{number}.1.parquet"
            start = DAY_START + (hour * 3600 + number % 2 * 60) * 10**9
            write_parquet(lake / "db" / table / "data" / file, start)


def test_every_command(place: Any, cli: Cli, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake)
    run = runner(cli, place.url, lake)
    sqlite = runner(cli, f"sqlite://{tmp_path}/other.db", lake)

    def same(*words: object) -> Any:
        found = run(*words, "--json").json
        assert found == sqlite(*words, "--json").json
        return found

    assert "registered         16" in run("scan", lake).out
    assert run("databases").lines == ["db"]
    assert run("tables", "db").lines == [*TABLES]
    assert run("paths", "db.v").code == 0
    assert len(run("plans", "db.t", "--json").json) == HOURS
    assert len(run("files", "db.t", "--json").json) == 2 * HOURS

    # There and back
    assert run("export", "all.ndjson").code == 0
    assert run("copy", place.url, f"sqlite://{tmp_path}/other.db").code == 0
    files = {name: same("files", f"db.{name}") for name in TABLES}
    place.flush()
    assert run("tables", "db").code == 3
    assert run("copy", f"sqlite://{tmp_path}/other.db", place.url).code == 0
    assert {name: same("files", f"db.{name}") for name in TABLES} == files
    assert run("import", "all.ndjson").code == 0
    assert {name: same("files", f"db.{name}") for name in TABLES} == files

    # Work
    question = "select count(*) n, sum(t.value) s from db.t join db.v using (value)"
    answer = same("sql", question)
    assert len(run("compact", "db.u").lines) >= HOURS
    done: list[str] = []  # they are due a second after they were queued
    wait_for(
        lambda: (
            done.extend(run("worker", "--once").lines)
            or sum("merge done" in line for line in done) == (len(TABLES) - 1) * HOURS
        ),
        "the merges are done",
    )
    assert run("sql", question, "--json").json == answer
    merged = run("files", "db.t", "--json").json
    assert len(merged) == HOURS
    assert run("show", "db.t", merged[0]["path"]).code == 0
    assert run("retry", "db.t").code == 3

    # Damage
    mended(run, place, lake)
    assert "made anew" in run("reindex", "db.t").err
    assert run("rm", "db.v", run("files", "db.v", "--json").json[0]["path"]).code == 0
    assert len(run("files", "db.v", "--json").json) == HOURS - 1

    # All is lost, but for the files
    place.flush()
    assert run("rebuild").code == 0
    assert run("sql", question, "--json").json == answer
    assert run("check", "db.t").code == 0
    assert run("doctor", "--json").json


def runner(cli: Cli, url: str, lake: Path) -> Callable[..., Result]:
    """A command on the catalog `url`."""

    def run(*words: object) -> Result:
        common = ("--catalog", url, "--layers", f"hot=file://{lake}", "--merge", "1s,100MiB")
        return cli(words[0], *common, *words[1:])

    return run


def mended(run: Callable[..., Result], place: Any, lake: Path) -> None:
    """`check` finds what was done to the catalog and to the files; `--repair` mends it."""
    gone = run("files", "db.w", "--json").json[0]["path"]
    (lake / "db" / "w" / "data" / gone).unlink()
    table = "{db:w}" if isinstance(place, Cluster) else "db:w"
    with place.client() as client:
        client.hset(f"folders:{table}", "date=2024-01-15/hour=01", 7)
        client.rpush(f"move:{table}:hot::idle", "{garbage")
    found = run("check", "db.w", "--min-age", "0s")
    assert found.code == 1
    for words in ("its file is not there", "hour=01", "(byte 1)"):
        assert words in found.out
    repaired = run("check", "db.w", "--min-age", "0s", "--repair", "--force")
    assert repaired.code == 0, repaired.out
    assert run("check", "db.w", "--min-age", "0s").code == 0
    assert len(run("files", "db.w", "--json").json) == HOURS - 1
