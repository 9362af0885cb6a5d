"""Many processes at once: nothing lost, nothing twice, every plan handed out once per lease.

The processes of load.py report what they were told; the catalog that they leave is held against it.
"""

from __future__ import annotations

import collections
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis
from fix_redis import RedisPool, redis_params
from load import ROWS

from gigapi_metadata import connect

SCRIPT = Path(__file__).with_name("load.py")
STORES = [
    pytest.param(None, id="sqlite"),
    *(pytest.param(param.values[0], id=param.id, marks=param.marks) for param in redis_params()),
]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, redis_pool: RedisPool, tmp_path: Path) -> Iterator[str]:
    """A fresh catalog that other processes can reach."""
    if request.param is None:
        yield f"sqlite:///{tmp_path}/catalog.db"
        return
    server = redis_pool.get(request.param)
    server.flush()
    yield server.url()


def run_load(url: str, committers: int, leasers: int, limits: tuple[str, str], seed: int) -> Any:
    """What the processes report, by role."""
    roles = ["commit"] * committers + ["lease"] * leasers
    with ExitStack() as stack:
        processes = []
        for number, role in enumerate(roles):
            limit = limits[role == "lease"]
            command = [sys.executable, os.fspath(SCRIPT), role, url, str(number), str(seed), limit]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        reports = []
        for process in processes:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            reports.append(json.loads(out))
    return reports[:committers], reports[committers:]


def check(url: str, committed: list[Any], leased: list[Any], seed: int) -> dict[str, int]:
    note = f"seed {seed}"
    added = [path for report in committed for path in report["added"]]
    merged = [done for report in leased for done in report["merged"]]
    leases = [tuple(each) for report in leased for each in report["leases"]]
    with connect(url, merge_configurations=ROWS, drop_grace_s=0) as catalog:
        index = catalog.table("db", "t")
        entries, plans, paths = index.get_all(), index.plans(), index.paths()
    # Handed out once per lease, finished once.
    twice = [each for each, count in collections.Counter(leases).items() if count > 1]
    assert not twice, f"{note}: leases handed out twice: {twice[:5]}"
    ids = [done[0] for done in merged]
    assert len(set(ids)) == len(ids), f"{note}: a plan was finished twice"
    # Nothing lost, nothing twice: each file is there, or was merged once, or was removed.
    there = {each.path for each in entries}
    assert len(there) == len(entries)
    sources = [path for _, froms, _, _ in merged for path in froms]
    assert len(set(sources)) == len(sources), f"{note}: a file was merged twice"
    dropped = [path for plan in plans if plan.kind == "drop" for path in plan.paths]
    assert len(set(dropped)) == len(dropped), f"{note}: a file is to be dropped twice"
    removed = set(dropped) - set(sources)
    asked = {path for report in committed for path in report["asked_to_remove"]}
    assert removed <= asked, f"{note}: files vanished that nobody removed"
    results = {done[2] for done in merged}
    assert there | set(sources) | removed == set(added) | results, f"{note}: files were lost"
    assert not there & set(sources), f"{note}: a merged file is there yet"
    assert not there & removed
    # Rows are conserved.
    assert sum(each.row_count for each in entries) == len(added) - len(removed & set(added)), (
        f"{note}: rows were lost or doubled"
    )
    # Counts equal the truth.
    truth = collections.Counter(path.rpartition("/")[0] for path in there)
    assert counts(url) == dict(truth), f"{note}: folders are miscounted"
    assert paths == sorted(truth)
    # Each file that is there waits in one plan.
    waiting = collections.Counter(
        path for plan in plans if plan.kind == "merge" for path in set(plan.paths) if path in there
    )
    levels = (".1.parquet", ".2.parquet")
    assert waiting == dict.fromkeys((path for path in there if path.endswith(levels)), 1)
    return {
        "files": len(added),
        "batches": sum(report["calls"] for report in committed),
        "leases": len(leases),
        "merges": len(merged),
        "lost": sum(report["lost"] for report in leased),
        "conflicts": sum(report["conflicts"] for report in leased),
        "removed": len(removed),
    }


def counts(url: str) -> dict[str, int]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
            return dict(db.execute("SELECT dir, count(*) FROM files GROUP BY dir"))
    with redis.Redis.from_url(url) as client:
        return {dir.decode(): int(n) for dir, n in client.hgetall("folders:db:t").items()}


def test_four_processes_commit_while_two_merge(url: str, seed: int) -> None:
    committed, leased = run_load(url, 4, 2, ("80", "200"), seed)
    figures = check(url, committed, leased, seed)
    assert figures["batches"] == 4 * 80
    assert figures["leases"] > 0
    assert figures["merges"] > 0


@pytest.mark.soak
def test_sixteen_processes_commit_while_four_merge_for_twenty_seconds(
    url: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    committed, leased = run_load(url, 16, 4, ("20s", "20s"), seed)
    figures = check(url, committed, leased, seed)
    with capsys.disabled():
        print(f"\n{url.partition(':')[0]}, seed {seed}: {figures}")
