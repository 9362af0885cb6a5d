"""What an index can do, written once: checks, then one request to the store.

Every verb is a generator (stores/base.py); sync.py and aio.py drive it. Nothing
here does I/O or knows which store it talks to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from gigapi_metadata.errors import InvalidConfiguration, InvalidEntry, InvalidName, UnknownLayer
from gigapi_metadata.index.querying import checked_query
from gigapi_metadata.model import (
    DropPlan,
    IndexEntry,
    MergeConfiguration,
    MergePlan,
    MovePlan,
    Plan,
    QueryOptions,
    QueuedPlan,
)
from gigapi_metadata.names import check_name, check_path, check_writer
from gigapi_metadata.planning import Rules, check_queued
from gigapi_metadata.stores.base import (
    Change,
    Columns,
    QueueRef,
    Selection,
    Steps,
    Store,
    columns_of,
)
from gigapi_metadata.validation import are_plain, check_entry

if TYPE_CHECKING:
    from gigapi_metadata.pruning import Explanation, Where

_MAX_SECONDS = 10**10  # 317 years
_NO_RULES = Rules((), ())


class TableVerbs:
    """The verbs of one table. `rules` is read at the start of each verb, so it may be replaced."""

    def __init__(self, store: Store, database: str, table: str, rules: Rules) -> None:
        self.ref = store.ref(check_name("database", database), check_name("table", table))
        self.store = store
        self.rules = rules

    def reconfigure(self, merge_configurations: tuple[MergeConfiguration, ...]) -> None:
        """Use other merge configurations from the next call on."""
        self.rules = msgspec.structs.replace(self.rules, merge_configurations=merge_configurations)

    # Entries

    def batch(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None,
    ) -> Steps[int]:
        """See `Index.batch`."""
        change = self.change(add_entries, rm_entries)
        if change.add or change.remove:
            yield from self.store.commit(self.ref, change, self.rules)
        return 0

    def change(
        self,
        add_entries: Iterable[IndexEntry] | None,
        rm_entries: Iterable[IndexEntry | str] | None,
    ) -> Change:
        """What `batch` does with these, checked. Pure."""
        remove = self._removals(rm_entries)
        add = {entry.path: entry for entry in self._checked(add_entries)}
        for path in remove:
            add.pop(path, None)
        return Change(list(add.values()), remove)

    def in_doubt(self, change: Change) -> bool:
        """See `Store.in_doubt`."""
        return self.store.in_doubt(self.ref, change)

    def get(self, path: str, layer: str | None) -> Steps[IndexEntry | None]:
        """See `Index.get`."""
        entry = yield from self.store.get(self.ref, check_path(path))
        if entry is None or layer is None or entry.layer == layer:
            return entry
        return None

    def query(
        self,
        options: QueryOptions,
        layer: str | None,
        where: Where | None = None,
        time_column: str | None = None,
    ) -> Steps[list[IndexEntry]]:
        """See `Index.query`."""
        query = checked_query(options, layer, where, time_column)
        return (yield from query.select(self.store, self.ref))

    def explain(
        self,
        options: QueryOptions,
        layer: str | None,
        where: Where | None,
        time_column: str | None,
    ) -> Steps[Explanation]:
        """See `Index.query` with `explain`."""
        query = checked_query(options, layer, where, time_column)
        return (yield from query.explain(self.store, self.ref))

    def columns(self, options: QueryOptions, layer: str | None) -> Steps[Columns]:
        """See `Index.query_arrow`."""
        selection = self._selection(options, layer)
        if selection is None:
            return columns_of([])
        return (yield from self.store.columns(self.ref, selection))

    def stream(self, options: QueryOptions, layer: str | None, size: int) -> Steps[None]:
        """See `Index.iter_query`: Parts of `size` entries."""
        if type(size) is not int or size < 1:
            raise InvalidConfiguration(f"size must be 1 or more, not {size!r}")
        selection = self._selection(options, layer)
        if selection is not None:
            yield from self.store.stream(self.ref, selection, size)

    def _selection(self, options: QueryOptions, layer: str | None) -> Selection | None:
        """What is asked for. None: nothing can match."""
        selection = checked_query(options, layer, None, None).selection
        return None if selection.window.after > selection.window.before else selection

    def paths(self) -> Steps[list[str]]:
        """See `Index.paths`."""
        return (yield from self.store.folders(self.ref))

    # Plans

    def lease(self, queue: QueueRef, lease_s: int | None) -> Steps[Plan | None]:
        """The first plan of `queue` that is due, held for `lease_s` seconds."""
        plans = yield from self.lease_several(queue, lease_s, 1)
        return plans[0] if plans else None

    def lease_several(self, queue: QueueRef, lease_s: int | None, limit: int) -> Steps[list[Plan]]:
        """The first plans of `queue` that are due, `limit` of them at most."""
        if type(limit) is not int or limit < 1:
            raise InvalidConfiguration(f"limit must be 1 or more, not {limit!r}")
        check_writer(queue.writer_id)
        self.rules.check_layer(queue.layer)
        if queue.kind == "merge" and (type(queue.iteration) is not int or queue.iteration < 1):
            raise InvalidConfiguration(f"iteration must be 1 or more, not {queue.iteration!r}")
        seconds = self._lease_s(lease_s)
        return (yield from self.store.lease(self.ref, queue, seconds, limit))

    def end(self, plan: Plan, expected: type[Plan]) -> Steps[None]:
        """End a plan whose result has been registered already."""
        self._check_plan(plan, expected)
        yield from self.store.commit(self.ref, Change(ends=plan), self.rules)

    def complete_merge(self, plan: MergePlan, merged_entry: IndexEntry) -> Steps[None]:
        """See `Index.complete_merge`."""
        self._check_plan(plan, MergePlan)
        self._check_result(merged_entry, plan.path_to, plan.layer, plan.paths_from)
        change = Change([merged_entry], plan.paths_from, plan)
        yield from self.store.commit(self.ref, change, self.rules)

    def complete_move(self, plan: MovePlan, moved_entry: IndexEntry | None) -> Steps[None]:
        """See `Index.complete_move`."""
        self._check_plan(plan, MovePlan)
        added: list[IndexEntry] = []
        if plan.layer_to == "":
            if moved_entry is not None:
                raise InvalidEntry(
                    f"plan {plan.id}: {plan.path_from!r} has expired, there is no layer to move it "
                    "to; complete it with None"
                )
        else:
            if moved_entry is None:
                raise InvalidEntry(
                    f"plan {plan.id}: the entry of {plan.path_to!r} in layer {plan.layer_to!r} is "
                    "missing"
                )
            self._check_result(moved_entry, plan.path_to, plan.layer_to, [plan.path_from])
            added.append(moved_entry)
        yield from self.store.commit(self.ref, Change(added, [plan.path_from], plan), self.rules)

    def renew(self, plan: Plan, lease_s: int | None) -> Steps[Plan]:
        """See `Index.renew`."""
        self._check_plan(plan, (MergePlan, MovePlan, DropPlan))
        seconds = self._lease_s(lease_s)
        return (yield from self.store.renew(self.ref, plan, seconds))

    def release(self, plan: Plan, error: str | None, delay_s: int) -> Steps[None]:
        """See `Index.release`."""
        self._check_plan(plan, (MergePlan, MovePlan, DropPlan))
        check_seconds("delay_s", delay_s, 0)
        reason = None if error is None else str(error).encode(errors="replace").decode()
        yield from self.store.release(self.ref, plan, reason, delay_s)

    def retry(self, plan: QueuedPlan) -> Steps[bool]:
        """See `Index.retry`."""
        if not isinstance(plan, QueuedPlan):
            raise InvalidEntry(f"a plan as `plans` lists it is needed, not {type(plan).__name__}")
        return (yield from self.store.retry(self.ref, plan))

    def plans(self) -> Steps[list[QueuedPlan]]:
        """See `Index.plans`."""
        return (yield from self.store.queued(self.ref))

    def import_entries(self, entries: Iterable[IndexEntry]) -> Steps[None]:
        """See `Index.import_entries`."""
        add = {}
        for entry in self._entries("entries", entries):
            check_entry(entry, *self.ref)
            self._check_store_path(entry)
            add[entry.path] = entry
        if add:
            yield from self.store.commit(self.ref, Change(list(add.values())), _NO_RULES)

    def import_plans(self, plans: Iterable[QueuedPlan]) -> Steps[int]:
        """See `Index.import_plans`."""
        found = [check_queued(plan) for plan in plans]
        return (yield from self.store.import_plans(self.ref, found)) if found else 0

    def queues(self) -> Steps[list[QueueRef]]:
        """See `Index.queues`."""
        return (yield from self.store.queues(self.ref))

    # Checks

    def _entries(self, what: str, entries: Iterable[IndexEntry] | None) -> Iterable[IndexEntry]:
        if entries is None:
            return ()
        if isinstance(entries, IndexEntry):
            raise InvalidEntry(f"{what} must be a list of entries; put the entry into [ ]")
        if not isinstance(entries, Iterable):
            raise InvalidEntry(f"{what} must be a list of entries, not {type(entries).__name__}")
        return entries

    def _checked(self, add_entries: Iterable[IndexEntry] | None) -> Sequence[IndexEntry]:
        entries = list(self._entries("add_entries", add_entries))
        if len(entries) == 1 or not self._are_plain(entries):
            for entry in entries:
                self._check(entry)
        return entries

    def _are_plain(self, entries: Sequence[IndexEntry]) -> bool:
        if not are_plain(entries, *self.ref):
            return False
        try:
            for layer in {entry.layer for entry in entries}:
                self.rules.check_layer(layer)
            self.store.check_paths(entry.path for entry in entries)
        except (UnknownLayer, InvalidName):
            return False
        return True

    def _check(self, entry: IndexEntry) -> None:
        check_entry(entry, *self.ref)
        try:
            self.rules.check_layer(entry.layer)
        except UnknownLayer as fault:
            raise UnknownLayer(f"entry {entry.path!r}: {fault}") from fault
        self._check_store_path(entry)

    def _check_store_path(self, entry: IndexEntry) -> None:
        try:
            self.store.check_paths([entry.path])
        except InvalidName as fault:
            raise InvalidEntry(f"entry {entry.path!r}: {fault}") from fault

    def _removals(self, entries: Iterable[IndexEntry | str] | None) -> list[str]:
        if entries is None:
            return []
        if isinstance(entries, (str, IndexEntry)):
            raise InvalidEntry("rm_entries must be a list; put the entry into [ ]")
        if not isinstance(entries, Iterable):
            raise InvalidEntry(
                f"rm_entries must be a list of entries or paths, not {type(entries).__name__}"
            )
        paths: dict[str, None] = {}
        for entry in entries:
            # A removal needs to name its file, no more: what a foreign writer left can be removed.
            path = entry.path if isinstance(entry, IndexEntry) else entry
            if isinstance(entry, IndexEntry) and (entry.database, entry.table) != self.ref:
                raise InvalidEntry(
                    f"entry {path!r}: it belongs to {entry.database!r}.{entry.table!r}, "
                    f"this index is of {self.ref.database!r}.{self.ref.table!r}"
                )
            try:
                paths[check_path(path)] = None
            except InvalidName as fault:
                raise InvalidEntry(f"entry {path!r}: {fault}") from fault
        return list(paths)

    def _check_plan(self, plan: Plan, expected: type[Plan] | tuple[type[Plan], ...]) -> None:
        if not isinstance(plan, expected):
            raise InvalidEntry(f"a plan of another kind is needed, not {type(plan).__name__}")
        if (plan.database, plan.table) != self.ref:
            raise InvalidEntry(
                f"plan {plan.id} belongs to {plan.database!r}.{plan.table!r}, "
                f"this index is of {self.ref.database!r}.{self.ref.table!r}"
            )

    def _check_result(
        self, entry: IndexEntry, path: str, layer: str, sources: Sequence[str]
    ) -> None:
        self._check(entry)
        if path in sources:
            raise InvalidEntry(
                f"the plan's result {path!r} is one of its sources; release the plan"
            )
        if entry.path != path or entry.layer != layer:
            raise InvalidEntry(
                f"entry {entry.path!r} in layer {entry.layer!r}: the plan's result is {path!r} in "
                f"layer {layer!r}"
            )

    def _lease_s(self, lease_s: int | None) -> int:
        return self.rules.lease_s if lease_s is None else check_seconds("lease_s", lease_s, 1)


class CatalogVerbs:
    """What is there: databases, tables, folders."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def planned(self) -> Steps[list[tuple[str, str]]]:
        """See `DBIndex.planned`."""
        found = yield from self.store.planned()
        return [(ref.database, ref.table) for ref in found]

    def databases(self) -> Steps[list[str]]:
        """See `DBIndex.databases`."""
        return (yield from self.store.databases())

    def tables(self, database: str) -> Steps[list[str]]:
        """See `DBIndex.tables`."""
        return (yield from self.store.tables(check_name("database", database)))

    def paths(self, database: str, table: str) -> Steps[list[str]]:
        """See `DBIndex.paths`."""
        ref = self.store.ref(check_name("database", database), check_name("table", table))
        return (yield from self.store.folders(ref))


class ValueVerbs:
    """Keys and values."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, key: str) -> Steps[bytes | None]:
        """See `KVStore.get`."""
        return (yield from self.store.kv_get(self._key(key)))

    def put(self, key: str, value: bytes) -> Steps[None]:
        """See `KVStore.put`."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise InvalidEntry(f"the value of {key!r} must be bytes, not {type(value).__name__}")
        yield from self.store.kv_put(self._key(key), bytes(value))

    def delete(self, key: str) -> Steps[None]:
        """See `KVStore.delete`."""
        yield from self.store.kv_delete(self._key(key))

    def _key(self, key: str) -> str:
        if not isinstance(key, str) or not key:
            raise InvalidName(f"a key must be a string that is not empty, not {key!r}")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InvalidName(f"the key {key!r} is not valid Unicode text") from None
        return key


def check_seconds(what: str, seconds: int, low: int) -> int:
    """`seconds` itself if it is a whole number of at least `low`.

    Raises:
        InvalidConfiguration: it is not.
    """
    if type(seconds) is not int or not low <= seconds <= _MAX_SECONDS:
        raise InvalidConfiguration(
            f"{what} must be whole seconds from {low} to {_MAX_SECONDS}, not {seconds!r}"
        )
    return seconds
