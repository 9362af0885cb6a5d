"""Redis killed and restarted in mid-load, with every write in its log before it is answered."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import test_load
from fault_checks import check_invariants
from fix_redis import RedisServer
from load import ROWS

from gigapi_metadata import RedisIndex

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")


@contextmanager
def killed_now_and_then(server: RedisServer, seed: int, most_s: float) -> Iterator[list[int]]:
    """SIGKILL at moments that are drawn; started again at once. Its scripts are flushed as well.
    Counts the kills."""
    draw = random.Random(seed)
    over = threading.Event()
    kills = [0]
    failed: list[BaseException] = []

    def kill() -> None:
        try:
            while not over.wait(draw.uniform(0.05, most_s)):
                with server.client() as client:
                    client.script_flush()
                if over.wait(draw.uniform(0.05, most_s)):
                    break
                server.kill()
                server.start()
                kills[0] += 1
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield kills
    finally:
        over.set()
        thread.join()
    assert not failed


def survive(
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    processes: tuple[int, int],
    limits: tuple[str, str],
) -> tuple[int, dict[str, int]]:
    script = Path(__file__).with_name("patient_load.py")
    monkeypatch.setattr(test_load, "SCRIPT", script)
    with killed_now_and_then(server, seed, 0.5) as kills:
        committed, leased = test_load.run_load(server.url(), *processes, limits, seed)
    # What a process was handed by a call that it made again may have been leased twice: once to it.
    figures = test_load.check(server.url(), committed, leased, seed)
    with RedisIndex(server.url(), "db", "t", merge_configurations=ROWS, drop_grace_s=0) as index:
        check_invariants(index, f"seed {seed}")
    return kills[0], figures


def test_every_acknowledged_write_survives_kills(
    new_redis_server: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    server = new_redis_server(*ALWAYS)
    kills, figures = survive(server, monkeypatch, seed, (2, 1), ("3s", "3s"))
    assert kills
    assert figures["batches"]


@pytest.mark.soak
def test_every_acknowledged_write_survives_kills_for_long(
    new_redis_server: Callable[..., RedisServer],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = new_redis_server(*ALWAYS)
    kills, figures = survive(server, monkeypatch, seed, (8, 3), ("60s", "60s"))
    with capsys.disabled():
        print(f"\n{server.id}, seed {seed}: killed {kills} times, {figures}")
