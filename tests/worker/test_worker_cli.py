"""`worker`, `compact` and `retry` as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from worker_lab import Lab, Tables, row_count

from gigapi_metadata import LeaseLost, connect
from gigapi_metadata.cli import main
from gigapi_metadata.cli.worker_show import Display
from gigapi_metadata.worker import Filter, Options, Worker

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
        ["--memory", "1"],
        ["--memory", "100MB", "--concurrency", "2"],
        ["--since", "now", "--until", "-1h"],
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


def hold(lake: Path) -> Any:
    """Another worker's lease on the merge of hour 0."""
    with connect(lake, merge_configurations=[[1000, 10**9, 1]]) as catalog:
        index = catalog.table("db", "readings")
        assert index.retry(index.plans()[0])
        return index.get_merge_plan("", "", 1, lease_s=7200)


def test_compact_names_what_others_hold(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = hold(lake)
    code, out, err = run(capsys, "compact", "db.readings", *WAITS)
    assert code == 1
    assert out.count("merge done") == 1
    assert "db.readings: 1 merge of level 1 (6 files) held by other workers until 20" in err
    assert err.endswith("Z, in 119 min; compact again then\n")
    code, out, err = run(capsys, "compact", "db.readings", "--json", *WAITS)
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "kind": "merge", "database": "db", "table": "readings", "status": "held", "layer": "",
        "writer_id": "", "level": 1, "plans": 1, "files": 6, "until_s": plan.lease_s,
    }  # fmt: skip
    code, _, err = run(capsys, "compact", "db.readings", "--until-level", "1", *WAITS)
    assert (code, err.count("held")) == (3, 0)


def test_compact_goes_on_when_leases_have_run_out(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(lake, merge_configurations=[[1000, 10**9, 1]]) as catalog:
        index = catalog.table("db", "readings")
        assert index.retry(index.plans()[0])
        dead = index.get_merge_plan("", "", 1, lease_s=1)
        while time.time() < dead.lease_s:
            time.sleep(0.05)
        code, out, err = run(capsys, "compact", "db.readings", *WAITS)
        assert (code, out.count("merge done"), err) == (0, 2, "")
        with pytest.raises(LeaseLost):
            index.end_merge(dead)


def test_a_dry_run_shows_what_the_worker_refuses(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = ["--layers", "hot=file:///nowhere"]
    code, out, _ = run(capsys, "worker", "--dry-run", *layers)
    assert code == 0
    assert out.count("refused") == 2
    assert out.count("layer '' is unknown; the table's layers are 'hot'") >= 2
    assert "due" not in out
    code, out, err = run(capsys, "worker", "--once", *layers)
    assert (code, out) == (0, "")
    assert "warning: db.readings: layer '' is unknown" in err


def test_a_dry_run_keeps_to_the_window(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "worker", "--dry-run", "--since", "2024-01-15T00:30:00Z")
    assert code == 0
    assert (out.count("hour=00"), out.count("hour=01")) == (0, 1)


@pytest.mark.parametrize("name", ["db.reading", "dbb", "db2.readings"])
@pytest.mark.parametrize(
    "words",
    [["worker", "--once"], ["worker", "--dry-run"], ["compact"], ["retry"]],
    ids=" ".join,
)
def test_a_misspelt_table_is_no_success(
    lake: Path, capsys: pytest.CaptureFixture[str], words: list[str], name: str
) -> None:
    if "." not in name and words[0] != "worker":
        name += ".readings"
    code, out, err = run(capsys, *words, name)
    assert (code, out) == (3, "")
    kind, meant = ("table", "db.readings") if "." in name else ("database", "db")
    assert f"the catalog has no {kind} {name}; did you mean {meant}?" in err


def test_a_worker_waits_for_a_table(
    lake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "run", lambda self, once: self.totals)
    code, _, err = run(capsys, "worker", "db.readings", "db.later")
    assert code == 0
    assert err == (
        "the catalog has no table db.later; `gigapi-metadata tables db` lists those that hold "
        "files; waiting for it\n"
    )


@pytest.mark.parametrize("option", ["--root", "--temporary"])
@pytest.mark.parametrize(
    "command", [["worker", "--once"], ["worker", "--dry-run"], ["compact", "db.readings"]]
)
def test_a_folder_that_does_not_exist(
    lake: Path, capsys: pytest.CaptureFixture[str], command: list[str], option: str
) -> None:
    code, _, err = run(capsys, *command, option, "no/such")
    assert code == 2
    assert f"argument {option}: no/such does not exist" in err
    (lake / "file").touch()
    assert "file is not a folder" in run(capsys, *command, option, "file")[2]
    assert not Path("no").exists()


def test_a_root_beside_layers(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--root", ".", "--layers", f"hot=file://{lake}"]
    code, _, err = run(capsys, "worker", "--once", *words)
    assert code == 2
    assert "argument --root: the catalog has layers" in err


def test_no_catalog_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["worker"], ["compact", "a.b"], ["retry", "a.b"]):
        code, _, err = run(capsys, *words)
        assert code != 0
        assert "there is no catalog in this folder" in err
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_was_set_aside_waits_for_retry(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(lake, merge_configurations=[[1000, 10**9, 1]]) as catalog:
        index = catalog.table("db", "readings")
        index.release(hold(lake), "broken", delay_s=20 * 365 * 86_400)
    for words in (["plans", "db.readings", "--failed"], ["worker", "--dry-run"]):
        code, out, _ = run(capsys, *words)
        assert code == 0
        assert "on retry" in out
        assert " d " not in out


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


HANGS = """
import sys, threading
from gigapi_metadata.cli import main
from gigapi_metadata.worker import merge
merge.merge_files = lambda *args: threading.Event().wait()
sys.exit(main(["worker", "--merge", "0s,1GB"]))
"""


def test_a_second_signal_ends_it_at_once(lake: Path) -> None:
    """Also while a job hangs; its plan comes back when its lease has run out."""
    with (
        connect(lake) as catalog,
        subprocess.Popen(
            [sys.executable, "-c", HANGS], stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        index = catalog.table("db", "readings")
        assert all(index.retry(plan) for plan in index.plans())
        while not any(plan.state == "leased" for plan in index.plans()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "once more to stop at once" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert any(plan.state == "leased" for plan in index.plans())


def test_the_display_says_what_runs(tmp_path: Path) -> None:
    """Also before the first job is done, which may take long."""
    lab = Lab(tmp_path)
    workers: list[Worker] = []
    display = Display(False, workers)
    seen = []

    def look(step: str) -> None:
        seen.append(display.__rich__().plain)

    with Tables(lab) as catalog:
        lab.add(catalog, 6, hours=[0, 1])
        options = Options(Filter(kinds=("merge",)), temporary=lab.temporary, checkpoint=look)
        with Worker(catalog, lab.storages(), options, report=display.outcome) as worker:
            workers.append(worker)
            worker.run(once=True)
    assert seen[0] == (
        "merge db.readings date=2024-01-15/hour=00, 6 files; done: 0 jobs, 0 files, 0 B -> 0 B"
    )
    assert "hour=01, 6 files; done: 1 job, 6 files" in seen[-1]
    assert display.__rich__().plain.startswith("waiting; done: 2 jobs, 12 files")
