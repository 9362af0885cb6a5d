"""The narrow waist: what a store answers, and how its answers are driven, sync or async.

A store's verbs are generators. They yield *requests* - each one atomic for that kind of store: a
script call, a transaction - and are sent the answers. Whoever drives them decides how a request is
performed; `run` blocks, `arun` awaits. So each verb is written once and knows nothing of asyncio,
and a cancelled or failed request unwinds it like any exception.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import closing
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from gigapi_metadata.model import IndexEntry, Plan, PlanKind, QueuedPlan, Stats
from gigapi_metadata.planning import Rules
from gigapi_metadata.timerange import Window

T = TypeVar("T")

Steps: TypeAlias = Generator[Any, Any, T]
"""A verb under way: yields requests, is sent their answers, returns a T."""


def run(steps: Steps[T], perform: Callable[[Any], Any]) -> T:
    """Drive `steps` to its end, performing each request where we stand."""
    try:
        request = next(steps)
        while True:
            try:
                answer = perform(request)
            except BaseException as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()  # a signal may have raised between two steps: the verb is to know


async def arun(steps: Steps[T], perform: Callable[[Any], Awaitable[Any]]) -> T:
    """As `run`, awaiting each request. Cancelling throws CancelledError into the verb."""
    try:
        request = next(steps)
        while True:
            try:
                answer = await perform(request)
            except BaseException as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()  # a signal may have raised between two steps: the verb is to know


class Part(msgspec.Struct, frozen=True):
    """Entries of an answer that is too long to be held. A streaming verb yields it among its
    requests, and is sent nothing back."""

    entries: list[IndexEntry]


def parts(steps: Steps[None], perform: Callable[[Any], Any]) -> Iterator[list[IndexEntry]]:
    """Drive a streaming verb and yield the entries of each Part. A request that fails raises within
    the verb. When it is closed or let go of, the verb is closed."""
    answer: Any = None
    fault: Exception | None = None
    with closing(steps):
        while True:
            try:
                request = steps.send(answer) if fault is None else steps.throw(fault)
            except StopIteration:
                return
            answer = fault = None
            if isinstance(request, Part):
                yield request.entries
                continue
            try:
                answer = perform(request)
            except Exception as raised:
                fault = raised


async def aparts(
    steps: Steps[None], perform: Callable[[Any], Awaitable[Any]]
) -> AsyncGenerator[list[IndexEntry], None]:
    """As `parts`, awaiting each request."""
    answer: Any = None
    fault: Exception | None = None
    with closing(steps):
        while True:
            try:
                request = steps.send(answer) if fault is None else steps.throw(fault)
            except StopIteration:
                return
            answer = fault = None
            if isinstance(request, Part):
                yield request.entries
                continue
            try:
                answer = await perform(request)
            except Exception as raised:
                fault = raised


class TableRef(NamedTuple):
    """Which table a request is about. Both names have been checked."""

    database: str
    table: str


class Change(msgspec.Struct, frozen=True):
    """What one atomic commit does. Everything in it has been checked; no path stands twice.

    `add` is in the order given; `remove` holds paths. With `ends`, the change is only made while
    that plan is held under its lease, each path of `remove` must be there, and the plan ends.
    """

    add: Sequence[IndexEntry] = ()
    remove: Sequence[str] = ()
    ends: Plan | None = None

    @property
    def completes(self) -> bool:
        """Whether it registers a plan's result as well as ending the plan."""
        return self.ends is not None and bool(self.add or self.remove)


class Placed(Protocol):
    """What a selection looks at: an entry, or as much of one."""

    @property
    def path(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def min_time(self) -> int: ...
    @property
    def max_time(self) -> int: ...


PlacedT = TypeVar("PlacedT", bound=Placed)


class Selection(msgspec.Struct, frozen=True):
    """Which entries are asked for: those that overlap `window`, and match the rest where given."""

    window: Window = Window()
    folder: str = ""
    iteration: int = 0
    layer: str | None = None

    def matches(self, entry: Placed) -> bool:
        """The full rule (FORMAT, "Querying"), for stores that narrow by something coarser."""
        return (
            entry.min_time <= self.window.before
            and entry.max_time >= self.window.after
            and (not self.folder or entry.path.startswith(self.folder))
            and (not self.iteration or entry.path.endswith(self.suffix))
            and (self.layer is None or entry.layer == self.layer)
        )

    def among(self, entries: list[PlacedT]) -> list[PlacedT]:
        """Those of `entries` that match."""
        if self.folder or self.iteration or self.layer is not None:
            return [entry for entry in entries if self.matches(entry)]
        if self.window.unbounded:
            return entries
        after, before = self.window
        return [entry for entry in entries if entry.min_time <= before and entry.max_time >= after]

    @property
    def suffix(self) -> str:
        """How a path ends that is of `iteration`."""
        return f".{self.iteration}.parquet"


ENTRY_TEXTS = ("path", "layer", "writer_id")
ENTRY_NUMBERS = ("size_bytes", "row_count", "min_time", "max_time", "chunk_time")
ENTRY_STATS = ("min", "max")

Columns: TypeAlias = dict[str, list[Any]]
"""Entries of one table column by column: ENTRY_TEXTS as str, ENTRY_NUMBERS as int, ENTRY_STATS as
JSON (bytes), or None where nothing is known."""


class QueueRef(msgspec.Struct, frozen=True):
    """Which queues a plan is asked from. `iteration` counts for merges only."""

    kind: PlanKind
    layer: str
    writer_id: str
    iteration: int = 0


def columns_of(entries: Sequence[IndexEntry]) -> Columns:
    """Entries, column by column."""
    names = (*ENTRY_TEXTS, *ENTRY_NUMBERS)
    columns: Columns = {name: [getattr(entry, name) for entry in entries] for name in names}
    columns["min"] = [_json_or_none(entry.min_data) for entry in entries]
    columns["max"] = [_json_or_none(entry.max_data) for entry in entries]
    return columns


def _json_or_none(stats: Stats | None) -> bytes | None:
    return None if stats is None else msgspec.json.encode(stats)


def one_by_one(lease_one: Callable[[], Steps[Plan | None]], limit: int) -> Steps[list[Plan]]:
    """`Store.lease` of a store that hands out plans one at a time."""
    plans: list[Plan] = []
    while len(plans) < limit:
        plan = yield from lease_one()
        if plan is None:
            break
        plans.append(plan)
    return plans


class Store(Protocol):
    """What every store answers. Each verb is atomic and durable as far as the store promises."""

    ref: type[TableRef]
    """What a table is named by: TableRef(database, table)."""

    def check_paths(self, paths: Iterable[str]) -> None:
        """Refuse a legal path that this store's other readers can't live with (InvalidName)."""

    def commit(self, table: TableRef, change: Change, rules: Rules) -> Steps[None]:
        """Make the whole change or none of it.

        Raises:
            LeaseLost: `change.ends` is not held under its lease any more. When that very lease was
                already completed (or ended, and no more than that is asked for), nothing is
                raised and nothing changes.
            Conflict: a path to remove under a plan is not there.
        """
        ...

    def get(self, table: TableRef, path: str) -> Steps[IndexEntry | None]:
        """The entry of `path`. Read-only."""
        ...

    def select(self, table: TableRef, selection: Selection) -> Steps[list[IndexEntry]]:
        """Every matching entry, once, ordered by (min_time, path). Read-only."""
        ...

    def columns(self, table: TableRef, selection: Selection) -> Steps[Columns]:
        """As `select`, column by column and in no order. Read-only."""
        ...

    def stream(self, table: TableRef, selection: Selection, size: int) -> Steps[None]:
        """Every matching entry, once, ordered by (min_time, path), as Parts of `size` entries.
        Read-only. Driven by `parts` or `aparts`."""
        ...

    def lease(
        self, table: TableRef, queue: QueueRef, lease_s: int, limit: int
    ) -> Steps[list[Plan]]:
        """Hand out the first plans that are due for `lease_s` seconds, `limit` of them at most.
        They name living files only."""
        ...

    def renew(self, table: TableRef, plan: Plan, lease_s: int) -> Steps[Plan]:
        """The plan under a lease that lasts at least `lease_s` seconds from now. Or LeaseLost."""
        ...

    def release(self, table: TableRef, plan: Plan, error: str | None, delay_s: int) -> Steps[None]:
        """Give the plan back, to be had again `delay_s` seconds from now. Or LeaseLost.

        With `error`, an attempt is counted and its reason kept.
        """
        ...

    def retry(self, table: TableRef, plan: QueuedPlan) -> Steps[bool]:
        """Make a plan due now that waits, or that was given back with a delay, ahead of others in
        its queue; its attempts are forgotten. False: it is not there, or somebody holds it."""
        ...

    def import_plans(self, table: TableRef, plans: Sequence[QueuedPlan]) -> Steps[int]:
        """Queue plans of another catalog, in order, behind those that are there; all wait. One
        that its queue holds already, told by its id, is left alone. Atomic; safe to repeat.

        Returns:
            How many were new.

        Raises:
            UnknownLayer: the store has no place for a plan's layer.
        """
        ...

    def queued(self, table: TableRef) -> Steps[list[QueuedPlan]]:
        """Every plan of the table, in its queue's order. Read-only; for people, may be slow."""
        ...

    def queues(self, table: TableRef) -> Steps[list[QueueRef]]:
        """The queues of the table that hold plans, due or not. Read-only; may be slow."""
        ...

    def planned(self) -> Steps[list[TableRef]]:
        """The tables that may hold plans, also those whose last file is gone. Sorted; read-only;
        may be slow."""
        ...

    def databases(self) -> Steps[list[str]]:
        """The databases that hold files, sorted. Read-only."""
        ...

    def tables(self, database: str) -> Steps[list[str]]:
        """The tables of `database` that hold files, sorted. Read-only."""
        ...

    def folders(self, table: TableRef) -> Steps[list[str]]:
        """The dirs of the table that hold files, sorted. Read-only."""
        ...

    def kv_get(self, key: str) -> Steps[bytes | None]:
        """The value under `key`. Read-only."""
        ...

    def kv_put(self, key: str, value: bytes) -> Steps[None]:
        """Set `key`. Atomic; safe to repeat."""
        ...

    def kv_delete(self, key: str) -> Steps[None]:
        """Remove `key` if it is there. Atomic; safe to repeat."""
        ...
