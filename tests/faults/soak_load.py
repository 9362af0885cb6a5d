"""The processes of the soak: writers that query, holders of plans, workers, a foreign writer.

Each writes down what it is about to do and what it was told, so that the judge (soak_judge.py)
knows also of those that are killed. Every file is of one origin, a text that no other has; rows of
Parquet files carry it, and in a catalog without files the entry's `min` does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import logging
import os
import random
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from go_worker import Go
from worker_lab import BASE_NS, CHUNK_NS, Lab, Tables, work

from gigapi_metadata import (
    AsyncJSONIndex,
    AsyncRedisIndex,
    AsyncSQLiteIndex,
    IndexEntry,
    JSONIndex,
    LeaseLost,
    MergePlan,
    MetadataError,
    OutcomeUnknown,
    QueryFailed,
    RedisIndex,
    SQLiteIndex,
    StorageError,
    StoreError,
)
from gigapi_metadata.names import dir_of
from gigapi_metadata.storage import Storages
from gigapi_metadata.worker import Filter, Options, RetryPolicy, compact
from gigapi_metadata.worker.finder import Selector
from gigapi_metadata.worker.jobs import attempt_path

ROWS = 12
HOUR_NS = 3_600_000_000_000
DAYS = ("date=2024-01-15", "date=2024-01-16")
HOURS = 3
LEASE_S = 1
REPEATS = 8  # of a write of unknown outcome, before its writer gives up
UNENDING = RetryPolicy(first_s=1, factor=1, max_attempts=10**6, jitter=lambda: 0.5)


@dataclasses.dataclass(frozen=True)
class SoakLab(Lab):
    """One table of the soak. `line`: the Redis behind a proxy that disturbs. `real`: its files are
    there."""

    line: str = ""
    real: bool = True

    def disturbed(self) -> SoakLab:
        return dataclasses.replace(self, redis=self.line) if self.redis else self

    @property
    def layer(self) -> str:
        return self.layers[0].name if self.layers else ""

    def entry(self, origin: str, draw: random.Random) -> IndexEntry:
        """The entry of a new file; if files are real, of one that is written now."""
        day, hour = draw.randrange(len(DAYS)), draw.randrange(HOURS)
        dir = f"{DAYS[day]}/hour={hour:02}"
        start = BASE_NS + (24 * day + hour) * HOUR_NS + draw.randrange(HOUR_NS)
        path = f"{dir}/{uuid.UUID(int=draw.getrandbits(128), version=4)}.1.parquet"
        if self.real:
            return self.write(path, rows_of_file(origin, start))
        return IndexEntry(
            self.database,
            self.table_name,
            path,
            100,
            start,
            start + draw.choice([0, 10**9, HOUR_NS]),
            row_count=1,
            chunk_time=CHUNK_NS,
            min_data={"of": origin},
        )

    def file(self, path: str) -> Path:
        return self.data_folder(self.layer) / path

    def write(self, path: str, rows: pa.Table) -> IndexEntry:
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, self.file(path))
        return IndexEntry.from_parquet(
            self.file(path),
            root=self.data_folder(self.layer),
            database=self.database,
            table=self.table_name,
            layer=self.layer,
            chunk_time=CHUNK_NS,
        )


def rows_of_file(origin: str, start: int) -> pa.Table:
    return pa.table(
        {
            "__timestamp": pa.array([start + n for n in range(ROWS)], pa.int64()),
            "of": [origin] * ROWS,
            "n": list(range(ROWS)),
        }
    )


def origins_of(entries: Iterable[IndexEntry]) -> Counter[str]:
    """How often each origin is there, in a table whose files are not real."""
    return Counter(
        origin for entry in entries for origin in str((entry.min_data or {})["of"]).split(",")
    )


def origins_of_rows(rows: Iterable[tuple[str, int]]) -> Counter[str]:
    """The same of rows, each its origin and number. -1: not all of an origin's rows are there
    equally often."""
    found = Counter(rows)
    per_origin: dict[str, set[int]] = {}
    for (origin, _), times in found.items():
        per_origin.setdefault(origin, set()).add(times)
    complete = Counter(origin for origin, _ in found)
    return Counter(
        {
            origin: max(times) if complete[origin] == ROWS and len(times) == 1 else -1
            for origin, times in per_origin.items()
        }
    )


class Journal:
    """Lines of JSON, each there once it is written, whoever is killed."""

    def __init__(self, file: Path, stop: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._stop = stop
        self._calls = itertools.count()

    def note(self, *fact: object) -> None:
        os.write(self._file, (json.dumps(fact) + "\n").encode())

    def call(self, kind: str, **about: object) -> int:
        """A call that may change something is about to be made."""
        number = next(self._calls)
        self.note("call", number, kind, about)
        return number

    def again(self, number: int) -> None:
        self.note("again", number)

    def told(self, number: int, fault: BaseException | None) -> str:
        """What it answered: "ok", "unknown", or "no", which is that nothing was changed."""
        answer = "ok" if fault is None else "no"
        if isinstance(fault, OutcomeUnknown):
            answer = "unknown"
        elif fault is not None and not isinstance(fault, MetadataError):
            raise fault
        self.note("told", number, answer, "" if fault is None else str(fault)[:200])
        return answer

    def going_on(self) -> bool:
        return not self._stop.exists()


class Made(NamedTuple):
    """A change that a writer makes: new files by origin, and the origins whose files it removes."""

    number: int
    add: dict[str, IndexEntry]
    remove: list[str]


class Writer:
    """Adds and removes its own files, and looks whether queries find what they must."""

    def __init__(self, lab: SoakLab, name: str, mode: str, journal: Journal, seed: str) -> None:
        self._lab, self._name, self._journal = lab, name, journal
        self._draw = random.Random(seed)
        self._mode = mode
        self._count = itertools.count()
        self._entries: dict[str, IndexEntry] = {}
        self._there: set[str] = set()
        self._refused: set[str] = set()
        # In folders nobody notes what a killed worker was to write: docs/worker.md.
        self._removals = 0.0 if lab.json and lab.real else 0.3
        self._loop = asyncio.new_event_loop() if mode.startswith("async") else None
        if self._loop is None:
            self._index = _open(lab)
        else:
            place = lab.redis or _place(lab)
            if lab.json:
                from gigapi_metadata import AsyncJSONConnection

                place = AsyncJSONConnection(lab.root, lab.layers or None)  # type: ignore[assignment]
            self._index = lab.open(place, AsyncRedisIndex, AsyncSQLiteIndex, AsyncJSONIndex)

    def run(self) -> None:
        while self._journal.going_on():
            for made, answer in self._make([self._new() for _ in range(self._draw.randint(1, 3))]):
                self._learn(made, answer)
            if self._draw.random() < 0.4:
                self._look()
            time.sleep(self._draw.expovariate(1 / 0.05))

    def _new(self) -> Made:
        add = {}
        for _ in range(self._draw.randint(1, 4)):
            origin = f"{self._name}-{next(self._count)}"
            add[origin] = self._entries[origin] = self._lab.entry(origin, self._draw)
        remove = []
        if self._there and self._draw.random() < self._removals:
            remove = self._draw.sample(sorted(self._there), 1)
            self._there.difference_update(remove)
        files = {origin: entry.path for origin, entry in add.items()}
        gone = {origin: self._entries[origin].path for origin in remove}
        return Made(self._journal.call("batch", add=files, remove=gone), add, remove)

    def _learn(self, made: Made, answer: str) -> None:
        if answer == "ok":
            self._there.update(made.add)
        if answer == "no":
            self._there.update(made.remove)
            self._refused.update(made.add)
            if self._lab.real:
                for entry in made.add.values():
                    self._lab.file(entry.path).unlink()

    def _make(self, changes: list[Made]) -> Iterator[tuple[Made, str]]:
        """Make them; what is of unknown outcome is repeated, as it may be."""
        unsettled: set[int] = set()
        for turn in range(REPEATS):
            left = []
            for made, fault in zip(changes, self._send(changes), strict=True):
                answer = self._journal.told(made.number, fault)
                if answer == "unknown":
                    unsettled.add(made.number)
                if answer == "ok" or made.number not in unsettled:
                    yield made, answer
                else:
                    left.append(made)
            changes = left
            if not changes or turn == REPEATS - 1 or not self._journal.going_on():
                return
            # Time for others to merge what was made, and in another order than before.
            time.sleep(self._draw.uniform(0, 0.8))
            self._draw.shuffle(changes)
            for made in changes:
                self._journal.again(made.number)

    def _send(self, changes: list[Made]) -> list[BaseException | None]:
        args = [
            (list(made.add.values()), [self._entries[origin].path for origin in made.remove])
            for made in changes
        ]
        if self._loop is not None:
            call = self._index.submit if self._mode == "async-submit" else self._index.batch

            async def gathered() -> list[Any]:
                calls = [call(*each) for each in args]
                return await asyncio.gather(*calls, return_exceptions=True)

            found = self._loop.run_until_complete(gathered())
            return [each if isinstance(each, BaseException) else None for each in found]
        if self._mode == "submit":
            futures = [self._index.submit(*each) for each in args]
            return [future.exception() for future in futures]
        return [_fault(lambda each=each: self._index.batch(*each)) for each in args]  # type: ignore[misc]

    # Looking

    def _look(self) -> None:
        try:
            if self._lab.real and self._loop is None:
                rows = self._index.to_duckdb(columns=["of", "n"]).fetchall()
                self._check(origins_of_rows(rows), self._there, "rows")
            elif not self._lab.real:
                self._look_at_entries()
        except (StoreError, StorageError, QueryFailed) as fault:
            # The server is away, the table is empty; or this process was stopped for longer than
            # the grace that readers have.
            self._journal.note("no answer", str(fault)[:200])

    def _look_at_entries(self) -> None:
        what = self._draw.randrange(5)
        mine = sorted(self._there)
        if what == 0:
            found, expected = self._ask("get_all"), mine
        elif what == 1:
            dir = f"{self._draw.choice(DAYS)}/hour={self._draw.randrange(HOURS):02}"
            found = self._ask("query", folder=dir)
            expected = [one for one in mine if self._entries[one].path.startswith(f"{dir}/")]
        elif mine:
            one = self._entries[self._draw.choice(mine)]
            width = self._draw.choice([0, 10**6, HOUR_NS])
            after, before = one.min_time - width, one.max_time + width
            verb = "query" if what < 4 or self._loop is not None else "iter_query"
            found = list(self._ask(verb, after=after, before=before))
            assert all(each.min_time <= before and each.max_time >= after for each in found)
            expected = [
                each
                for each in mine
                if self._entries[each].min_time <= before and self._entries[each].max_time >= after
            ]
        else:
            return
        self._check(origins_of(found), expected, f"look {what}")

    def _ask(self, verb: str, **options: Any) -> Any:
        made = getattr(self._index, verb)(**options)
        return made if self._loop is None else self._loop.run_until_complete(made)

    def _check(self, found: Counter[str], expected: Iterable[str], what: str) -> None:
        lost = [one for one in expected if found[one] == 0]
        odd = [
            f"{one} {times} times"
            for one, times in found.items()
            if times != 1 and one.rpartition("-")[0] == self._name
        ]
        back = sorted(self._refused & set(found))
        self._journal.note("looked", what, len(found))
        wrong = {"lost": lost, "odd": odd, "refused and there": back}
        assert not any(wrong.values()), f"{what}: {wrong}"


class Holder:
    """Carries out plans of a table whose files are not real; now and then dies with one, is late
    with one, or gives one back."""

    def __init__(self, lab: SoakLab, name: str, journal: Journal, seed: str) -> None:
        self._lab, self._journal, self._draw = lab, journal, random.Random(seed)
        self._index = _open(lab)
        self._late: list[MergePlan] = []

    def run(self) -> None:
        while self._journal.going_on():
            try:
                self._turn()
            except LeaseLost:
                pass
            except StoreError as fault:
                self._journal.note("no answer", str(fault)[:200])
            time.sleep(self._draw.expovariate(1 / 0.01))

    def _turn(self) -> None:
        index, draw = self._index, self._draw
        if draw.random() < 0.2:
            self._drop()
        plan = index.get_merge_plan("", "", draw.choice([1, 1, 2]), lease_s=draw.choice([1, 2, 5]))
        if plan is None:
            return
        self._journal.note("lease", plan.id, plan.lease_s)
        fate = draw.random()
        if fate < 0.1:
            self._late.append(plan)
            return
        if fate < 0.2:
            index.release(plan, "fate")
            return
        if fate < 0.3:
            before, plan = plan, index.renew(plan, lease_s=3)
            if plan.lease_s != before.lease_s:
                self._journal.note("lease", plan.id, plan.lease_s)
        if self._late and draw.random() < 0.3:
            plan = self._late.pop(0)
        self._complete(plan)

    def _complete(self, plan: MergePlan) -> None:
        dir = dir_of(plan.path_to)
        there = {each.path: each for each in self._index.query(folder=f"{dir}/")}
        if not there.keys() >= set(plan.paths_from):
            self._index.release(plan)
            return
        sources = [there[path] for path in plan.paths_from]
        path = attempt_path(plan.path_to, os.urandom(6).hex())
        origins = [str((each.min_data or {})["of"]) for each in sources]
        merged = IndexEntry(
            plan.database,
            plan.table,
            path,
            sum(each.size_bytes for each in sources),
            min(each.min_time for each in sources),
            max(each.max_time for each in sources),
            row_count=sum(each.row_count for each in sources),
            chunk_time=CHUNK_NS,
            min_data={"of": ",".join(origins)},
        )
        named = msgspec.structs.replace(plan, path_to=path)
        call = self._journal.call("merge", sources=plan.paths_from, result=path)
        for turn in range(REPEATS):
            fault = _fault(lambda: self._index.complete_merge(named, merged))
            if self._journal.told(call, fault) != "unknown" or turn == REPEATS - 1:
                return
            self._journal.again(call)

    def _drop(self) -> None:
        plan = self._index.get_drop_queue("", "", lease_s=2)
        if plan is not None:
            self._journal.note("lease", plan.id, plan.lease_s)
            assert self._index.get(plan.path) is None, f"{plan.path} lives and is to be dropped"
            self._index.rm_from_drop_queue(plan)


class Foreign(Go):
    """Adds files as GigAPI does, and removes some that are there."""

    def __init__(self, lab: SoakLab, name: str, journal: Journal, seed: str) -> None:
        super().__init__(lab)
        self._client.close()
        no_retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)  # it would write twice
        self._client = redis.Redis.from_url(lab.redis, retry=no_retry, socket_timeout=10)
        self._lab: SoakLab = lab
        self._name, self._journal, self._draw = name, journal, random.Random(seed)

    def run(self) -> None:
        there: dict[str, IndexEntry] = {}
        for number in itertools.count():
            if not self._journal.going_on():
                return
            origin = f"{self._name}-{number}"
            entry = self._lab.entry(origin, self._draw)
            call = self._journal.call("batch", add={origin: entry.path}, remove={})
            if self._told(call, lambda entry=entry: self.atomically(lambda go: go.add(entry))):  # type: ignore[misc]
                there[origin] = entry
            if there and self._draw.random() < 0.2:
                origin = self._draw.choice(sorted(there))
                self._remove(origin, there.pop(origin))
            time.sleep(self._draw.expovariate(1 / 0.1))

    def _remove(self, origin: str, entry: IndexEntry) -> None:
        call = self._journal.call("batch", add={}, remove={origin: entry.path})
        key = f"files:{entry.database}:{entry.table}:{entry.path.partition('/')[0]}"

        def remove(go: Any) -> None:
            if go._redis.hexists(key, entry.path):
                go.remove(entry)

        self._told(call, lambda: self.atomically(remove))

    def _told(self, call: int, make: Callable[[], Any]) -> bool:
        try:
            make()
        except redis.RedisError as error:
            self._journal.note("told", call, "unknown", str(error)[:200])
            return False
        self._journal.note("told", call, "ok", "")
        return True


class Working:
    """A worker, which does whatever is due; or one that compacts."""

    def __init__(self, lab: SoakLab, journal: Journal, mode: str) -> None:
        self._lab, self._journal, self._mode = lab, journal, mode

    def run(self) -> None:
        while self._journal.going_on():
            try:
                outcomes = self._compact() if self._mode == "compact" else self._work()
            except StoreError as fault:
                self._journal.note("no answer", str(fault)[:200])
                continue
            for outcome in outcomes:
                self._journal.note("job", outcome.kind, outcome.status, outcome.error[:200])
            time.sleep(0.05)

    def _work(self) -> list[Any]:
        return work(self._lab, policy=UNENDING)

    def _compact(self) -> list[Any]:
        lab = self._lab
        options = Options(
            wanted=Filter(selectors=(Selector(lab.database, lab.table_name),)),  # type: ignore[arg-type]
            lease_s=lab.lease_s,
            temporary=lab.temporary,
            policy=UNENDING,
        )
        with Tables(lab) as catalog:
            return compact(
                catalog,
                Storages(lab.layers),
                lab.database,
                lab.table_name,
                options=options,
                now=lab.now,
            )


def _fault(call: Callable[[], Any]) -> BaseException | None:
    try:
        call()
    except MetadataError as fault:
        return fault
    return None


def _place(lab: SoakLab) -> str:
    return str(lab.folder / "catalog.db")


def _open(lab: SoakLab) -> Any:
    return lab.open(lab.connection(), RedisIndex, SQLiteIndex, JSONIndex)


def run(lab: SoakLab, role: str, name: str, folder: Path, seed: str) -> None:
    """A process of the load. It ends when `folder` holds a file `stop`; what is wrong is written to
    `{name}.error` there."""
    kind, _, mode = role.partition(":")
    logging.disable()  # that the server is away, again and again
    try:
        journal = Journal(folder / f"{name}.journal", folder / "stop")
        journal.note("begins", role, lab.table_name)
        seeded = f"{seed}/{name}"
        if kind == "writer":
            Writer(lab.disturbed(), name, mode, journal, seeded).run()
        elif kind == "holder":
            Holder(lab.disturbed(), name, journal, seeded).run()
        elif kind == "foreign":
            Foreign(lab, name, journal, seeded).run()
        else:
            Working(lab.disturbed(), journal, mode).run()
    except BaseException:
        (folder / f"{name}.error").write_text(traceback.format_exc())
        sys.exit(1)
