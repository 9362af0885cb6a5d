"""Many workers on one table, killed at random while they work: no row lost or doubled, no file
left over."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest
from worker_lab import Child, Lab, Tables, check_whole, finish, rows_of

from gigapi_metadata import Layer

MERGE = ((0, 6000, 1), (0, 12_000, 2), (0, 10**9, 3))  # small sizes make many plans


def lab_in(folder: Path, redis: str = "") -> Lab:
    folder.mkdir(parents=True, exist_ok=True)
    layers = (
        Layer(f"file://{folder}/hot", "hot", "fs", 3600),
        Layer(f"file://{folder}/cold", "cold"),
    )
    return Lab(folder, redis=redis, layers=layers, merge=MERGE, lease_s=2 if redis else 120)


def add(lab: Lab, hours: Sequence[int]) -> Counter[str]:
    """Add files to each of the hours; their rows."""
    apart = lab_in(lab.folder.parent / "apart" / str(uuid.uuid4()))
    for made in (apart, lab):
        with Tables(made) as catalog:
            made.add(catalog, 6, hours=hours)
    return rows_of(apart)


def rows_seen(lab: Lab) -> Counter[str]:
    """What a reader finds who lists anew when a file has gone under him: there is no grace here."""
    while True:
        with suppress(duckdb.IOException):
            return rows_of(lab)


def kill_among(lab: Lab, workers: int, kills: int, hours: int, seed: int) -> int:
    """Keep so many workers at work, with new files to merge, while one after the other is killed;
    then finish."""
    draw = random.Random(seed)
    rows = add(lab, range(hours))
    children = [Child(lab) for _ in range(workers)]
    for child in children:
        child.started()
    killed = 0
    for round_ in range(kills):
        rows += add(lab, [round_ % hours])
        time.sleep(draw.expovariate(1 / 0.02))  # the moment is what is drawn
        working = [n for n, child in enumerate(children) if child.process.is_alive()]
        number = draw.choice(working or range(workers))
        children[number].kill()
        killed += children[number].join() == -9
        assert rows_seen(lab) == rows, f"seed {seed}"
        if not lab.redis:
            lab = lab.ahead(1000)  # what it held is taken over
        children[number] = Child(lab)
        children[number].started()
    for child in children:
        child.outcomes()
    finish(lab if lab.redis else lab.ahead(1000))
    check_whole(lab, rows)
    assert killed, f"seed {seed}: none was at work when it was to be killed"
    return killed


def test_six_workers_are_killed_at_random(tmp_path: Path, seed: int) -> None:
    kill_among(lab_in(tmp_path / "lake"), 6, 8, 6, seed)


def test_six_workers_are_killed_at_random_on_redis(
    tmp_path: Path, redis_url: str, seed: int
) -> None:
    kill_among(lab_in(tmp_path / "lake", redis_url), 6, 6, 4, seed)


@pytest.mark.soak
def test_thirty_two_workers_are_killed_at_random(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = kill_among(lab_in(tmp_path / "lake"), 32, 200, 24, seed)
    with capsys.disabled():
        print(f"\nSQLite, seed {seed}: {killed} of 32 workers and their successors killed")


@pytest.mark.soak
def test_thirty_two_workers_are_killed_at_random_on_redis(
    tmp_path: Path, redis_url: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = kill_among(lab_in(tmp_path / "lake", redis_url), 32, 200, 24, seed)
    with capsys.disabled():
        print(f"\nRedis, seed {seed}: {killed} of 32 workers and their successors killed")
