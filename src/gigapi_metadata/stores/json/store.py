"""The JSON store: each verb is one request (stores/base.py says what they promise)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from gigapi_metadata.errors import Conflict, InvalidName
from gigapi_metadata.model import IndexEntry, Plan, QueuedPlan
from gigapi_metadata.names import check_name
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.base import (
    Change,
    Columns,
    Part,
    QueueRef,
    Selection,
    Steps,
    TableRef,
    columns_of,
    one_by_one,
)
from gigapi_metadata.stores.broken_off import BrokenOff, Fate
from gigapi_metadata.stores.json import entries, importing, leases, planner, values
from gigapi_metadata.stores.json.connection import JSONConnection, PlainRequest, TableRequest
from gigapi_metadata.stores.json.places import MAX_DEPTH, MAX_NAME, METADATA, PLANS, Places
from gigapi_metadata.stores.json.repair import JSONRepairs
from gigapi_metadata.stores.json.session import Session

Clock = Callable[[], float]

_NO_RULES = Rules((), ())


class JSONStore(JSONRepairs):
    """Answers for the tables of `places`.

    clock: tells the Unix time, for leases and timeouts.
    rules: the table's, under which plans are made for files that GigAPI itself has added.
    values_file: where keys and values are kept; beside the databases when None.
    broken_off: the connection's.
    """

    ref = TableRef

    def __init__(
        self,
        places: Places,
        clock: Clock = time.time,
        rules: Callable[[], Rules] = lambda: _NO_RULES,
        values_file: str | None = None,
        broken_off: BrokenOff | None = None,
    ) -> None:
        self._places = places
        self._clock = clock
        self._rules = rules
        self._broken_off = broken_off or BrokenOff()
        self._values_file = values_file or values.file_in(places.root)

    def check_paths(self, paths: Iterable[str]) -> None:
        """Refuse a path that is no file's beside a `metadata.json` (InvalidName)."""
        for path in paths:
            dir, _, name = path.rpartition("/")
            if name in (METADATA, f"{METADATA}.bak", PLANS):
                raise InvalidName(f"path {path!r}: the catalog itself keeps a file of that name")
            if len(dir) * 4 > MAX_NAME and any(
                len(folder.encode()) > MAX_NAME for folder in dir.split("/")
            ):
                raise InvalidName(f"path {path!r} has a folder of over {MAX_NAME} bytes")
            if path.count("/") > MAX_DEPTH:
                raise InvalidName(f"path {path!r} has over {MAX_DEPTH} folders")

    # Writing

    def commit(self, table: TableRef, change: Change, rules: Rules) -> Steps[None]:
        """See `Store.commit`."""

        def make(change: Change, fate: Fate) -> Steps[None]:
            yield TableRequest(
                self._places.table(table),
                partial(self._commit, change, rules),
                writes=True,
                makes=bool(change.add),
                in_order=change.ends is None,
                fate=fate,
            )

        return self._broken_off.commit(
            table, change, make, lambda fate: PlainRequest(lambda _: fate.wait())
        )

    def _commit(self, change: Change, rules: Rules, session: Session) -> None:
        now_s = int(self._clock())
        layer = None
        if change.ends is not None:
            if not planner.end(session, change.ends, change.completes, now_s):
                return
            layer = leases.layer_of(change.ends)
        entries.add(session, change.add, rules, now_s)
        gone = entries.remove(session, change.remove, layer, now_s + rules.drop_grace_s)
        if gone is not None and change.ends is not None:
            database, name = session.places.ref
            raise Conflict(
                f"{gone!r} is no longer in {database}.{name}: it was removed or changed its layer "
                "after the plan was handed out; nothing was changed"
            )

    def lease(
        self, table: TableRef, queue: QueueRef, lease_s: int, limit: int
    ) -> Steps[list[Plan]]:
        """See `Store.lease`. One after the other."""
        return one_by_one(lambda: self._lease_one(table, queue, lease_s), limit)

    def _lease_one(self, table: TableRef, queue: QueueRef, lease_s: int) -> Steps[Plan | None]:
        """Looks first, and takes the lock when there is something."""
        places, rules = self._places.table(table), self._rules()
        now_s = int(self._clock())

        def look(session: Session) -> bool:
            return planner.first_due(session, queue, rules, now_s) is not None

        if not (yield TableRequest(places, look)):
            return None

        def work(session: Session) -> Plan | None:
            return planner.lease(session, queue, lease_s, rules, int(self._clock()))

        plan: Plan | None = yield TableRequest(places, work, writes=True)
        return plan

    def renew(self, table: TableRef, plan: Plan, lease_s: int) -> Steps[Plan]:
        """See `Store.renew`."""

        def work(session: Session) -> Plan:
            return planner.renew(session, plan, lease_s, int(self._clock()))

        renewed: Plan = yield TableRequest(self._places.table(table), work, writes=True)
        return renewed

    def release(self, table: TableRef, plan: Plan, error: str | None, delay_s: int) -> Steps[None]:
        """See `Store.release`."""
        rules = self._rules()

        def work(session: Session) -> None:
            planner.release(session, plan, error, delay_s, rules, int(self._clock()))

        yield TableRequest(self._places.table(table), work, writes=True)

    def retry(self, table: TableRef, plan: QueuedPlan) -> Steps[bool]:
        """See `Store.retry`."""
        rules = self._rules()

        def work(session: Session) -> bool:
            return planner.retry(session, plan, rules, int(self._clock()))

        found: bool = yield TableRequest(self._places.table(table), work, writes=True)
        return found

    def import_plans(self, table: TableRef, plans: Sequence[QueuedPlan]) -> Steps[int]:
        """See `Store.import_plans`. A drop gets an id of this store's own, and is there already
        when one says the same: GigAPI's form has no place for ids of drops."""
        rules = self._rules()

        def work(session: Session) -> int:
            return importing.add_plans(session, plans, rules)

        added: int = yield TableRequest(self._places.table(table), work, writes=True, makes=True)
        return added

    # Reading

    def get(self, table: TableRef, path: str) -> Steps[IndexEntry | None]:
        """See `Store.get`. Of a path in several layers, which GigAPI may leave, the coldest."""

        entry: IndexEntry | None = yield TableRequest(
            self._places.table(table), partial(entries.find, path)
        )
        return entry

    def select(self, table: TableRef, selection: Selection) -> Steps[list[IndexEntry]]:
        """See `Store.select`."""
        found: list[IndexEntry] = yield TableRequest(
            self._places.table(table), partial(entries.select, selection)
        )
        found.sort(key=lambda entry: (entry.min_time, entry.path))
        return found

    def columns(self, table: TableRef, selection: Selection) -> Steps[Columns]:
        """See `Store.columns`."""
        return columns_of((yield from self.select(table, selection)))

    def stream(self, table: TableRef, selection: Selection, size: int) -> Steps[None]:
        """See `Store.stream`. All are held."""
        entries = yield from self.select(table, selection)
        for first in range(0, len(entries), size):
            yield Part(entries[first : first + size])

    def queued(self, table: TableRef) -> Steps[list[QueuedPlan]]:
        """See `Store.queued`."""
        rules = self._rules()

        def work(session: Session) -> list[QueuedPlan]:
            return planner.shown(session, rules)

        plans: list[QueuedPlan] = yield TableRequest(self._places.table(table), work)
        return plans

    def queues(self, table: TableRef) -> Steps[list[QueueRef]]:
        """See `Store.queues`."""
        rules = self._rules()

        def work(session: Session) -> list[QueueRef]:
            found = {
                queue
                for place in session.places.places
                for dir in session.dirs(place)
                for queue in session.heads(place, dir, rules)
            }
            return sorted(
                found, key=lambda ref: (ref.kind, ref.layer, ref.writer_id, ref.iteration)
            )

        refs: list[QueueRef] = yield TableRequest(self._places.table(table), work)
        return refs

    def planned(self) -> Steps[list[TableRef]]:
        """See `Store.planned`. Every table that has a folder."""

        def work(_: JSONConnection) -> list[TableRef]:
            return sorted(
                TableRef(database, table)
                for database in _legal("database", self._places.databases())
                for table in _legal("table", self._places.tables(database))
            )

        found: list[TableRef] = yield PlainRequest(work)
        return found

    def databases(self) -> Steps[list[str]]:
        """See `Store.databases`."""

        def work(connection: JSONConnection) -> list[str]:
            return [
                database
                for database in _legal("database", self._places.databases())
                if any(self._tables(connection, database))
            ]

        found: list[str] = yield PlainRequest(work)
        return found

    def tables(self, database: str) -> Steps[list[str]]:
        """See `Store.tables`."""

        def work(connection: JSONConnection) -> list[str]:
            return list(self._tables(connection, database))

        found: list[str] = yield PlainRequest(work)
        return found

    def _tables(self, connection: JSONConnection, database: str) -> Iterator[str]:
        for name in _legal("table", self._places.tables(database)):
            places = self._places.table(TableRef(database, name))
            if entries.holds_files(partial(connection.read, places, entries.any_folder)):
                yield name

    def folders(self, table: TableRef) -> Steps[list[str]]:
        """See `Store.folders`."""

        def work(session: Session) -> list[str]:
            return sorted(set(entries.folders(session)))

        found: list[str] = yield TableRequest(self._places.table(table), work)
        return found

    # Key-value

    def kv_get(self, key: str) -> Steps[bytes | None]:
        """See `Store.kv_get`."""
        value: bytes | None = yield PlainRequest(lambda _: values.get(self._values_file, key))
        return value

    def kv_put(self, key: str, value: bytes) -> Steps[None]:
        """See `Store.kv_put`."""
        yield PlainRequest(lambda _: values.put(self._values_file, key, value))

    def kv_delete(self, key: str) -> Steps[None]:
        """See `Store.kv_delete`."""
        yield PlainRequest(lambda _: values.put(self._values_file, key, None))


def _legal(kind: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        try:
            yield check_name(kind, name)
        except InvalidName:
            continue
