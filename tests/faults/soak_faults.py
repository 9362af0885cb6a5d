"""Faults at random moments: of the server, of the line to it, of processes, of the clock.

Each kind has a thread and a source of random numbers of its own. All of it ends with the block, and
is healed then.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from fault_line import KINDS, Fault, FaultLine
from fix_redis import RedisServer

LOST = ("cells", "cell", "full", "seen", "indexed", "noted", "ready", "looked", "dropping")
"""Keys of our own that may be lost at any time, with no loss but of speed."""

Happen = Callable[[random.Random, threading.Event], str]


@contextmanager
def faults(seed: str, *kinds: Happen) -> Iterator[Counter[str]]:
    """Let each of `kinds` happen again and again while the block runs; how often what happened."""
    over = threading.Event()
    counts: Counter[str] = Counter()
    failed: list[BaseException] = []

    def repeat(happen: Happen) -> None:
        draw = random.Random(f"{seed}/{happen}")
        try:
            while not over.is_set():
                counts[happen(draw, over)] += 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(each,)) for each in kinds]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed, f"seed {seed}: {failed}"


class ServerFaults:
    """What happens to a server; to others on the way, `pause_s` apart on average."""

    def __init__(self, server: RedisServer, pause_s: float = 0.5) -> None:
        self._server, self._pause_s = server, pause_s

    def __repr__(self) -> str:
        return "server"

    def __call__(self, draw: random.Random, over: threading.Event) -> str:
        kinds = (
            self.killed,
            self.restarted,
            self.stopped,
            self.scripts_flushed,
            self.clients_killed,
            self.memory_full,
            self.read_only,
            self.asleep,
            self.clients_paused,
            self.keys_lost,
        )
        if over.wait(draw.expovariate(1 / self._pause_s)):
            return "none"
        return draw.choice(kinds)(draw, over)

    def killed(self, draw: random.Random, over: threading.Event) -> str:
        self._server.kill()
        over.wait(draw.choice([0, 0, 0.3, 2]))
        self._server.start()
        return "server killed"

    def restarted(self, draw: random.Random, over: threading.Event) -> str:
        self._server.restart()
        return "server restarted"

    def stopped(self, draw: random.Random, over: threading.Event) -> str:
        self._server.pause()
        over.wait(draw.uniform(0.1, 3))
        self._server.resume()
        return "server stopped"

    def scripts_flushed(self, draw: random.Random, over: threading.Event) -> str:
        for _ in range(draw.randint(1, 20)):
            self._command("SCRIPT FLUSH")
            over.wait(0.02)
        return "scripts flushed"

    def clients_killed(self, draw: random.Random, over: threading.Event) -> str:
        with self._server.client() as client:
            ids = [each["id"] for each in client.client_list(_type="normal")]
            for id in draw.sample(ids, draw.randint(1, len(ids))):
                with suppress(redis.RedisError):  # it may be our own
                    client.client_kill_filter(_id=id)
        return "clients killed"

    def memory_full(self, draw: random.Random, over: threading.Event) -> str:
        with self._server.client() as client:
            used = int(client.info("memory")["used_memory"])
        self._server.config(maxmemory_policy="noeviction", maxmemory=used + draw.randint(1, 10**5))
        over.wait(draw.uniform(0.1, 2))
        self._server.config(maxmemory=0)
        return "memory full"

    def read_only(self, draw: random.Random, over: threading.Event) -> str:
        self._command("REPLICAOF", "127.0.0.1", "1")
        over.wait(draw.uniform(0.1, 2))
        self._command("REPLICAOF", "NO", "ONE")
        return "read only"

    def asleep(self, draw: random.Random, over: threading.Event) -> str:
        self._command("DEBUG", "SLEEP", round(draw.uniform(0.1, 2), 3))
        return "server asleep"

    def clients_paused(self, draw: random.Random, over: threading.Event) -> str:
        self._command("CLIENT PAUSE", draw.randint(50, 2000), draw.choice(["ALL", "WRITE"]))
        return "clients paused"

    def keys_lost(self, draw: random.Random, over: threading.Event) -> str:
        with self._server.client() as client:
            kinds = draw.sample(LOST, draw.randint(1, len(LOST)))
            for kind in kinds:
                keys = list(client.scan_iter(f"gigapi-metadata:{kind}:*", count=1000))
                lost = draw.sample(keys, draw.randint(0, len(keys)))
                if lost:
                    client.unlink(*lost)
        return "keys lost"

    def _command(self, *command: Any) -> None:
        with self._server.client() as client:
            client.execute_command(*command)


class LineFaults:
    """What happens to the traffic. Not the doubling of replies: no network does it, and nobody
    could tell a second copy from the next answer."""

    KINDS = tuple(each for each in KINDS if each != ("double", "reply"))

    def __init__(self, line: FaultLine) -> None:
        self._line = line

    def __repr__(self) -> str:
        return "line"

    def __call__(self, draw: random.Random, over: threading.Event) -> str:
        if draw.random() < 0.08:
            self._line.mute = True  # at the longest, no attempt at a call is answered
            over.wait(draw.uniform(0.1, 1.2))
            self._line.mute = False
            return "line mute"
        kind, side = draw.choice(self.KINDS)
        self._line.arm(Fault(kind, side, int(draw.expovariate(1 / 1000))))  # type: ignore[arg-type]
        over.wait(draw.expovariate(1 / 0.15))
        self._line.release()
        return f"line {kind} {side}" if self._line.fired else "none"


class ProcessFaults:
    """Processes are killed, and others take their places; or stopped for longer than a lease.

    processes: those that run. replace: start one instead of that."""

    def __init__(self, processes: Callable[[], list[Any]], replace: Callable[[Any], None]) -> None:
        self._processes, self._replace = processes, replace

    def __repr__(self) -> str:
        return "processes"

    def __call__(self, draw: random.Random, over: threading.Event) -> str:
        if over.wait(draw.expovariate(1 / 0.4)):
            return "none"
        alive = [each for each in self._processes() if each.is_alive()]
        if not alive:
            return "none"
        victim = draw.choice(alive)
        if draw.random() < 0.6:
            victim.kill()
            victim.join()
            self._replace(victim)
            return "process killed"
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGSTOP)
            over.wait(draw.uniform(1, 4))
            os.kill(victim.pid, signal.SIGCONT)
        return "process stopped"


class ClockJumps:
    """The clock of a catalog that goes by ours jumps back and forth; `file` says how far."""

    def __init__(self, file: Path) -> None:
        self._file, self.farthest_s = file, 0.0
        self.set(0)

    def __repr__(self) -> str:
        return "clock"

    def __call__(self, draw: random.Random, over: threading.Event) -> str:
        if over.wait(draw.expovariate(1 / 0.7)):
            return "none"
        jump = draw.choice([-5000, -61, -2, -1, 1, 2, 61, 5000])
        self.set(float(self._file.read_text()) + jump)
        return "clock jumped"

    def set(self, seconds: float) -> None:
        self.farthest_s = max(self.farthest_s, seconds)
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        os.replace(new, self._file)

    def calm(self) -> None:
        """Later than it has ever been, so that every lease has run out."""
        self.farthest_s += 10_000
        self.set(self.farthest_s)


def settled(server: RedisServer, line: FaultLine) -> None:
    """Wait until everything that anybody has sent was dealt with. Nobody may send anything more."""
    deadline = time.monotonic() + 60
    while not line.idle:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    line.release()
    with server.client() as client:
        while len(client.client_list(_type="normal")) > 1:
            assert time.monotonic() < deadline, client.client_list(_type="normal")
            time.sleep(0.01)
