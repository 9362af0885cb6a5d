"""`worker`, `compact` and `retry` as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from worker_lab import Lab, Tables, row_count

from gigapi_metadata import connect
from gigapi_metadata.cli import main

WAITS = ["--merge", "1000s,1GB"]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with twelve files, registered, as the working folder."""
    for name in list(os.environ):
        if name.startswith("GIGAPI_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "lake"
    folder.mkdir()
    with Tables(Lab(tmp_path, merge=())) as catalog:
        catalog.lab.add(catalog, 6, hours=[0, 1])
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert main(["scan", ".", *WAITS]) == 0
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([*words])
    return code, *capsys.readouterr()


def test_worker_compact_and_dry_run(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = list(lake.rglob("*.parquet"))
    rows = row_count(files)
    code, out, _ = run(capsys, "worker", "--dry-run")
    assert code == 0
    assert out.count("waiting") == 2
    code, out, _ = run(capsys, "worker", "--once")
    assert (code, out) == (0, "")
    code, out, _ = run(capsys, "compact", "db.readings", *WAITS)
    assert code == 0
    assert out.count("merge done") == 2
    assert run(capsys, "compact", "db.readings", *WAITS)[0] == 3
    code, out, _ = run(capsys, "worker", "--dry-run", "--json", "--kinds", "drop")
    assert [group["files"] for group in json.loads(out)["groups"]] == [6, 6]
    with connect(lake) as catalog:
        data = lake / "db" / "readings" / "data"
        entries = catalog.table("db", "readings").get_all()
        assert row_count(data / entry.path for entry in entries) == rows


def test_json_lines_and_retry(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = sorted(lake.rglob("hour=00/*.parquet"))[0]
    broken.write_bytes(b"broken")
    code, out, _ = run(capsys, "compact", "db.readings", "--json", *WAITS)
    assert code == 1
    outcomes = {line["status"]: line for line in map(json.loads, out.splitlines())}
    assert outcomes["done"]["rows"] == 240
    assert broken.name in outcomes["failed"]["error"]
    code, out, _ = run(capsys, "retry", "db.readings")
    assert code == 0
    assert outcomes["failed"]["plan"] in out
    assert run(capsys, "retry", "db.readings")[0] == 3
    assert run(capsys, "retry", "db.readings", "no-such-plan")[0] == 3


@pytest.mark.parametrize(
    "words",
    [
        ["--kinds", "merges"],
        ["--since", "whenever"],
        ["--memory", "much"],
        ["--concurrency", "0"],
        ["a/b"],
        ["--writer-id", "x", "--all-writers"],
    ],
)
def test_wrong_usage(lake: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, _, err = run(capsys, "worker", "--once", *words)
    assert code == 2
    assert err.startswith("gigapi-metadata: error: ")


def test_where_the_files_are_must_be_known(
    lake: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "worker", "--once", "--catalog", redis_url)
    assert code == 2
    assert "--root" in err
    code, _, err = run(capsys, "worker", "--once", "--catalog", redis_url, "--root", str(lake))
    assert (code, err) == (0, "")


@pytest.fixture
def running(lake: Path) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-m", "gigapi_metadata", "worker", "--json", "--merge", "0s,1GB"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_an_orderly_way(
    lake: Path, running: subprocess.Popen[str], number: int
) -> None:
    with connect(lake) as catalog:
        index = catalog.table("db", "readings")
        assert all(index.retry(plan) for plan in index.plans())
    assert running.stdout is not None
    for _ in range(2):
        assert json.loads(running.stdout.readline())["status"] == "done"
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "stopping" in err
    with connect(lake) as catalog:
        assert not any(plan.state == "leased" for plan in catalog.table("db", "readings").plans())
    assert not list(lake.parent.glob("gigapi-metadata-*/worker-*"))
