"""A worker that is killed, at every step and at random: the next one leaves nothing wrong."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from fix_stores import SEED
from worker_lab import Child, Lab, Tables, check_whole, finish, rows_of

from gigapi_metadata import Layer

MERGE = ("leased", "announced", "fetched", "merged", "verified", "placed", "completed")
MOVE = ("leased", "announced", "fetched", "copied", "verified", "completed")
DROP = ("leased", "checked", "deleted", "completed")
STEPS = [
    *(f"merge:{step}" for step in MERGE),
    *(f"move:{step}" for step in MOVE),
    *(f"drop:{step}" for step in DROP),
]
CALLS = ["rename#1", "rename#2", "fsync#1", "fsync#2", "fsync#4", "fsync#6", "unlink#1", "link#1"]

RANDOM_KILLS = 40
SOAK_KILLS = 400


def lab_in(folder: Path, **options: object) -> Lab:
    layers = (
        Layer(f"file://{folder}/hot", "hot", "fs", 3600),
        Layer(f"file://{folder}/cold", "cold"),
    )
    return Lab(folder, layers=layers, **options)  # type: ignore[arg-type]


def filled(lab: Lab, files: int = 6) -> Counter[str]:
    """Hour 0 has files to merge, hour 1 a single one, which is promoted."""
    with Tables(lab) as catalog:
        lab.add(catalog, files)
        lab.add(catalog, 1, hours=[1])
    return rows_of(lab)


@pytest.mark.parametrize("step", [*STEPS, *CALLS])
def test_killed_at_every_step(tmp_path: Path, step: str) -> None:
    lab = lab_in(tmp_path)
    rows = filled(lab)
    child = Child(lab, kill_at=step)
    child.started()
    assert child.join() == -9
    assert rows_of(lab) == rows
    finish(lab.ahead(1000))
    check_whole(lab, rows)


@pytest.mark.one_server
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step_on_redis(tmp_path: Path, redis_url: str, step: str) -> None:
    lab = lab_in(tmp_path, redis=redis_url, lease_s=1)
    rows = filled(lab)
    child = Child(lab, kill_at=step)
    child.started()
    assert child.join() == -9
    assert rows_of(lab) == rows
    finish(lab)
    check_whole(lab, rows)


def kill_at_random(tmp_path: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    killed = 0
    for round_ in range(kills):
        folder = tmp_path / str(round_)
        folder.mkdir()
        lab = lab_in(folder)
        rows = filled(lab, dice.randint(1, 5))
        for _ in range(dice.randint(1, 3)):
            child = Child(lab)
            child.started()
            time.sleep(dice.expovariate(1 / 0.05))  # the moment is what is drawn
            child.kill()
            killed += child.join() == -9
            assert rows_of(lab) == rows
            lab = lab.ahead(1000)
        finish(lab)
        check_whole(lab, rows)
    assert killed > kills / 2


def test_killed_at_random(tmp_path: Path) -> None:
    kill_at_random(tmp_path, RANDOM_KILLS, SEED)


@pytest.mark.soak
def test_killed_at_random_for_long(tmp_path: Path) -> None:
    kill_at_random(tmp_path, SOAK_KILLS, SEED)
