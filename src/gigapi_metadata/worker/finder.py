"""Finding work: which tables there are, which of their queues hold plans, which plan is next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Lock
from typing import Any, NamedTuple, Protocol

import msgspec

from gigapi_metadata.errors import (
    InvalidConfiguration,
    InvalidName,
    LeaseLost,
    MetadataError,
    OutcomeUnknown,
    StoreError,
    Unavailable,
    UnknownLayer,
)
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import DropPlan, MergePlan, Plan, PlanKind
from gigapi_metadata.names import check_name
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.stores.base import QueueRef
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker.outcome import paths_of

KINDS: tuple[PlanKind, ...] = ("merge", "move", "drop")


class Tables(Protocol):
    """What the worker needs of a catalog."""

    def planned(self) -> list[tuple[str, str]]: ...
    def table(self, database: str, table: str) -> Index[Any]: ...


class Selector(NamedTuple):
    """Which tables: one, or with table "" all of a database."""

    database: str
    table: str = ""

    @classmethod
    def parse(cls, text: str) -> Selector:
        """From `DB` or `DB.TABLE`; the first dot separates.

        Raises:
            InvalidName: one of the names is not a legal one.
        """
        database, dot, table = text.partition(".")
        check_name("database", database)
        if dot:
            check_name("table", table)
        return cls(database, table)


class Filter(msgspec.Struct, frozen=True):
    """Which plans are taken. Empty `selectors` and None mean "all".

    writer_id: of this writer only. levels: merges of these iterations only. window: merges and
    moves of files that overlap it. max_input_bytes: merges and moves of no more than so much.
    """

    selectors: Sequence[Selector] = ()
    kinds: Sequence[PlanKind] = KINDS
    writer_id: str | None = None
    levels: Collection[int] | None = None
    window: Window = Window()
    max_input_bytes: int | None = None

    def check(self) -> None:
        """Refuse what can't be meant (InvalidConfiguration)."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise InvalidConfiguration(f"{kind!r} is no kind of plan: {', '.join(KINDS)}")

    def takes_queue(self, queue: QueueRef) -> bool:
        """Whether plans of `queue` can pass."""
        return (
            queue.kind in self.kinds
            and (self.writer_id is None or queue.writer_id in (self.writer_id, UNFINISHED))
            and (self.levels is None or queue.kind != "merge" or queue.iteration in self.levels)
        )

    def takes_plan(self, index: Index[Any], plan: Plan) -> bool:
        """Whether `plan` passes. Reads its files' entries only if it must."""
        if isinstance(plan, DropPlan) or (self.window.unbounded and self.max_input_bytes is None):
            return True
        entries = [entry for path in paths_of(plan) if (entry := index.get(path)) is not None]
        size = sum(entry.size_bytes for entry in entries)
        if self.max_input_bytes is not None and size > self.max_input_bytes:
            return False
        overlaps = self.window.overlaps
        return any(overlaps(entry.min_time, entry.max_time) for entry in entries)


class Found(NamedTuple):
    """A plan, leased, and the table that it is of."""

    table: Index[Any]
    plan: Plan


class _Queue(NamedTuple):
    table: Index[Any]
    ref: QueueRef


class Finder:
    """Hands out plans, going round the queues. For many threads at once.

    Looking for queues is slow on some stores, so it is done every `rescan_s` seconds, and when a
    job has finished in a table.

    What somebody has spoilt - a queue that can't be read, a table with a name that none may have -
    is warned of once and passed over; `fault` is the last such error.
    """

    def __init__(
        self,
        catalog: Tables,
        wanted: Filter,
        lease_s: int,
        *,
        clock: Callable[[], float],
        rescan_s: float = 10.0,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        wanted.check()
        self._catalog = catalog
        self._wanted = wanted
        self._lease_s = lease_s
        self._clock = clock
        self._rescan_s = rescan_s
        self._warn = warn
        self._lock = Lock()
        self._queues: list[_Queue] = []
        self._indexes: dict[tuple[str, str], Index[Any]] = {}
        self._dirty: set[tuple[str, str]] = set()
        self._scanned_at: float | None = None
        self._warned: set[str] = set()
        self._skipped: list[Found] = []
        self.fault: MetadataError | None = None

    def next(self) -> Found | None:
        """A plan that is due, leased; None when there is none in any queue known.

        Raises:
            StoreError: the store failed.
        """
        with self._lock:
            if self._scanned_at is None or self._clock() - self._scanned_at >= self._rescan_s:
                self._scan()
            elif self._dirty:
                self._scan_tables(self._dirty)
            self._dirty = set()
            try:
                for _ in range(len(self._queues)):
                    # The queue goes to the end, whether it had a plan or not: each gets its turn.
                    queue = self._queues.pop(0)
                    self._queues.append(queue)
                    found = self._take(queue)
                    if found is not None:
                        return found
            finally:
                self._give_back_skipped()
            return None

    def changed(self, index: Index[Any]) -> None:
        """A job of this table is finished: there may be other queues now."""
        with self._lock:
            self._dirty.add((index.database, index.table))

    def look_again(self) -> None:
        """Look for tables and queues before the next plan."""
        with self._lock:
            self._scanned_at = None

    def indexes(self) -> list[Index[Any]]:
        """The tables that have been found."""
        with self._lock:
            return list(self._indexes.values())

    def _take(self, queue: _Queue) -> Found | None:
        while True:
            try:
                plan = lease(queue.table, queue.ref, self._lease_s)
            except UnknownLayer as fault:
                self._warn_once(f"{queue.table.database}.{queue.table.table}: {fault}")
                return None
            except (Unavailable, OutcomeUnknown):
                raise
            except StoreError as fault:
                self.fault = fault
                self._warn_once(f"{queue.table.database}.{queue.table.table}: {fault}")
                return None
            if plan is None:
                return None
            found = Found(queue.table, plan)
            if self._wanted.takes_plan(*found):
                return found
            # Given back only later, for it would be handed out again at once.
            self._skipped.append(found)

    def _give_back_skipped(self) -> None:
        skipped, self._skipped = self._skipped, []
        for index, plan in reversed(skipped):
            try:
                index.release(plan)
            except LeaseLost:
                continue

    def _scan(self) -> None:
        self._scan_tables(dict.fromkeys(self._tables()))
        self._scanned_at = self._clock()

    def _tables(self) -> Iterable[tuple[str, str]]:
        # A table whose last file is gone may still have files to drop.
        planned = self._catalog.planned()
        if not self._wanted.selectors:
            yield from planned
        for database, table in self._wanted.selectors:
            if table:
                yield database, table
            else:
                yield from (name for name in planned if name[0] == database)

    def _scan_tables(self, tables: Iterable[tuple[str, str]]) -> None:
        for name in list(tables):
            index = self._indexes.get(name)
            if index is None:
                try:
                    index = self._catalog.table(*name)
                except InvalidName as fault:
                    self.fault = fault
                    self._warn_once(f"what is queued for a table {name!r} is left alone: {fault}")
                    continue
                self._indexes[name] = index
            known = {queue.ref for queue in self._queues if queue.table is index}
            try:
                refs = [ref for ref in index.queues() if self._wanted.takes_queue(ref)]
                # Last, for these wait until the plans are gone that they are about.
                refs.sort(key=lambda ref: ref.writer_id == UNFINISHED)
            except MetadataError as fault:
                if len(self._indexes) == 1:
                    raise
                self._warn_once(f"{name[0]}.{name[1]}: {fault}")
                continue
            now = set(refs)
            self._queues = [q for q in self._queues if q.table is not index or q.ref in now]
            self._queues += [_Queue(index, ref) for ref in refs if ref not in known]

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)


def lease(index: Index[Any], queue: QueueRef, lease_s: int) -> Plan | None:
    """The first plan of `queue` that is due, held for `lease_s` seconds."""
    plan: Plan | None
    if queue.kind == "merge":
        plan = index.get_merge_plan(queue.writer_id, queue.layer, queue.iteration, lease_s=lease_s)
        assert plan is None or isinstance(plan, MergePlan)
    elif queue.kind == "move":
        plan = index.get_move_plan(queue.writer_id, queue.layer, lease_s=lease_s)
    else:
        plan = index.get_drop_queue(queue.writer_id, queue.layer, lease_s=lease_s)
    return plan
