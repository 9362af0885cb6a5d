"""A small lake to try the worker on, and processes to kill while they work on it.

Everything that a child process needs is in a `Lab`, which can be pickled.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gigapi_metadata import (
    IndexEntry,
    JSONConnection,
    JSONDBIndex,
    JSONIndex,
    Layer,
    QueuedPlan,
    RedisConnection,
    RedisDBIndex,
    RedisIndex,
    SQLiteConnection,
    SQLiteDBIndex,
    SQLiteIndex,
)
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.storage import Storages
from gigapi_metadata.worker import Filter, Options, Outcome, Worker
from gigapi_metadata.worker.policy import RetryPolicy

DAY = "date=2024-01-15"
BASE_NS = 1_705_276_800_000_000_000
CHUNK_NS = 1_705_276_900_000_000_000  # long ago: every TTL has passed
PATIENCE_S = 60.0

processes = multiprocessing.get_context("forkserver")


@functools.cache
def start_fork_server() -> None:
    """Children are forked from a process that has everything imported and no threads."""
    processes.set_forkserver_preload(["worker_lab"])
    before = os.environ.get("PYTHONPATH")
    here = Path(__file__).resolve().parent
    folders = [str(here), str(here.parent / "redis"), before or ""]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


@dataclasses.dataclass(frozen=True)
class Lab:
    """A table on disk. `redis` is "" for a SQLite catalog, or with `json` for folders; their clock
    runs `ahead_s` ahead, and what `jumps` says, a file that every process reads."""

    folder: Path
    redis: str = ""
    layers: tuple[Layer, ...] = ()
    merge: tuple[tuple[int, int, int], ...] = ((0, 10**9, 1),)
    drop_grace_s: int = 0
    lease_s: int = 120
    ahead_s: float = 0
    steps: tuple[str, ...] = ()
    json: bool = False
    jumps: Path | None = None
    database: str = "db"
    table_name: str = "readings"

    # What the worker takes for a catalog

    def connection(self) -> Any:
        if self.redis:
            return RedisConnection(self.redis)
        if self.json:
            return JSONConnection(self.root, self.layers or None)
        return SQLiteConnection(self.folder / "catalog.db")

    def ahead(self, seconds: float) -> Lab:
        """The same lake, seen so much later. Not on Redis, whose clock is its own."""
        assert not self.redis
        return dataclasses.replace(self, ahead_s=self.ahead_s + seconds)

    def now(self) -> float:
        """The clock of a catalog that goes by ours."""
        jumped = float(self.jumps.read_text()) if self.jumps else 0
        return time.time() + self.ahead_s + jumped

    def open(self, connection: Any, redis_class: Any, sqlite_class: Any, json_class: Any) -> Any:
        """The table as an object of the class for its store."""
        options: dict[str, Any] = {"lease_s": self.lease_s, "drop_grace_s": self.drop_grace_s}
        made = redis_class
        if not self.redis:
            options["clock"] = self.now
            made = json_class if self.json else sqlite_class
        rows = [list(row) for row in self.merge]
        return made(connection, self.database, self.table_name, self.layers, rows, **options)

    @property
    def root(self) -> Path:
        return self.folder / "lake"  # with layers, JSON folders need it to be the first of them

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    def storages(self) -> Storages:
        return Storages(self.layers, None if self.layers else self.root)

    # Filling and reading

    def add(
        self,
        catalog: Tables,
        count: int = 6,
        rows: int = 40,
        *,
        hours: Iterable[int] = (0,),
        table: Callable[[int], pa.Table] | None = None,
    ) -> list[IndexEntry]:
        """Write `count` files into each of the hours' folders of the hottest layer, and register
        them."""
        layer = self.layers[0].name if self.layers else ""
        made = []
        data = self.data_folder(layer)
        for hour in hours:
            folder = data / DAY / f"hour={hour:02}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                file = folder / f"{uuid.uuid4()}.1.parquet"
                pq.write_table(table(number) if table else readings(hour, number, rows), file)
                made.append(
                    IndexEntry.from_parquet(
                        file,
                        root=data,
                        database=self.database,
                        table=self.table_name,
                        layer=layer,
                        chunk_time=CHUNK_NS,
                    )
                )
        catalog.index().batch(made)
        return made

    def data_folder(self, layer: str) -> Path:
        url = next((each.url for each in self.layers if each.name == layer), str(self.root))
        return Path(url.removeprefix("file://")) / self.database / self.table_name / "data"

    def files(self, entries: Iterable[IndexEntry]) -> list[Path]:
        return [self.data_folder(entry.layer) / entry.path for entry in entries]

    def on_disk(self) -> set[Path]:
        """Every file of the lake and every temporary one, but for the catalog's own."""
        return {
            path
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.startswith(("catalog.db", "coverage"))
        }


def readings(hour: int, number: int, rows: int) -> pa.Table:
    """Rows that are all different, in no order."""
    numbers = list(range(rows))
    random.Random(number).shuffle(numbers)
    start = BASE_NS + hour * 3_600_000_000_000
    return pa.table(
        {
            "__timestamp": pa.array([start + number + n * 1_000_003 for n in numbers], pa.int64()),
            "host": [f"host-{hour}-{number}-{n % 7}" for n in numbers],
            "value": [
                float("nan") if n % 11 == 0 else -0.0 if n % 13 == 0 else n / 7 for n in numbers
            ],
            "count": [None if n % 5 == 0 else n for n in numbers],
        }
    )


class Tables:
    """The catalog of a lab, opened. Close it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.connection = lab.connection()
        made = RedisDBIndex if lab.redis else JSONDBIndex if lab.json else SQLiteDBIndex
        self._names: Any = made(self.connection)

    def planned(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = self._names.planned()
        return found

    def table(self, database: str, table: str) -> Any:
        lab = dataclasses.replace(self.lab, database=database, table_name=table)
        return lab.open(self.connection, RedisIndex, SQLiteIndex, JSONIndex)

    def index(self) -> Any:
        return self.table(self.lab.database, self.lab.table_name)

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def row_count(files: Iterable[Path]) -> Counter[str]:
    """The rows of `files` as a multiset."""
    names = [str(file) for file in files]
    if not names:
        return Counter()
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        rows = connection.execute(
            "SELECT * FROM read_parquet($1, union_by_name = true, hive_partitioning = false)",
            [names],
        ).fetchall()
    return Counter(map(repr, rows))


def rows_of(lab: Lab) -> Counter[str]:
    """The rows that a reader of the catalog finds now."""
    with Tables(lab) as catalog:
        return row_count(lab.files(catalog.index().get_all()))


def work(
    lab: Lab,
    *,
    checkpoint: Callable[[str], None] = lambda step: None,
    wanted: Filter | None = None,
    **options: Any,
) -> list[Outcome]:
    """Run a worker until nothing is due; its outcomes."""
    outcomes: list[Outcome] = []
    settings = Options(
        wanted=wanted or Filter(selectors=((lab.database, lab.table_name),)),  # type: ignore[arg-type]
        lease_s=lab.lease_s,
        temporary=lab.temporary,
        checkpoint=checkpoint,
        poll_s=0.05,
        policy=options.pop("policy", RetryPolicy(first_s=1, factor=1, jitter=lambda: 0.5)),
        **options,
    )
    with Tables(lab) as catalog:
        worker = Worker(catalog, lab.storages(), settings, report=outcomes.append)
        with worker:
            worker.run(once=True)
    return outcomes


def finish(lab: Lab) -> list[Outcome]:
    """Work until no plan is left. On SQLite time is moved on, on Redis it is waited for."""
    deadline = time.monotonic() + PATIENCE_S
    outcomes = []
    while True:
        outcomes += work(lab)
        with Tables(lab) as catalog:
            left = catalog.index().plans()
        if not left:
            return outcomes
        assert time.monotonic() < deadline, f"plans are left: {left}"
        if not lab.redis:
            lab = lab.ahead(100_000)


def planned(index: Any) -> list[QueuedPlan]:
    """The plans, but for drops of results that are not registered yet."""
    return [plan for plan in index.plans() if plan.writer_id != UNFINISHED]


def check_whole(lab: Lab, rows: Counter[str]) -> None:
    """No row is lost or doubled, no file left over."""
    with Tables(lab) as catalog:
        entries = catalog.index().get_all()
    files = lab.files(entries)
    assert row_count(files) == rows
    assert lab.on_disk() == set(files)
    for entry, file in zip(entries, files, strict=True):
        assert file.stat().st_size == entry.size_bytes
        assert pq.read_metadata(file).num_rows == entry.row_count


# Child processes


class Child:
    """A worker in a process of its own, which works until nothing is due."""

    def __init__(self, lab: Lab, kill_at: str = "", stop_at: str = "") -> None:
        start_fork_server()
        self._ours, theirs = processes.Pipe()
        self.process = processes.Process(target=_child, args=(lab, theirs, kill_at, stop_at))
        self.process.start()
        theirs.close()

    def started(self) -> None:
        """Wait until it begins to work."""
        assert self._ours.recv() == "ready"

    def stopped(self) -> None:
        """Wait until it has stopped itself."""
        assert self._ours.recv() == "stopping"
        pid = self.process.pid
        deadline = time.monotonic() + PATIENCE_S
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def resume(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def outcomes(self) -> list[Outcome]:
        """What it reported, once it is done."""
        found: list[Outcome] = self._ours.recv()
        self.join()
        return found

    def join(self) -> int | None:
        """Wait for its end; the exit code, negative for a signal."""
        self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def _child(lab: Lab, pipe: Connection, kill_at: str, stop_at: str) -> None:
    def checkpoint(step: str) -> None:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == stop_at:
            pipe.send("stopping")
            # To this thread: a signal to the process may find it a few steps further.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    call, _, number = kill_at.partition("#")
    if number:
        _kill_in(call, int(number))
    if not stop_at:
        pipe.send("ready")
    pipe.send(work(lab, checkpoint=checkpoint))


def _kill_in(call: str, number: int) -> None:
    """Die right before the `number`-th call of os.`call`, as storage makes them."""
    real, calls = getattr(os, call), iter(range(1, 10**9))

    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(os, call, counted)
