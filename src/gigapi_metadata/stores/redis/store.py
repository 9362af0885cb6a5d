"""The Redis store: each verb as requests to the server (stores/base.py says what they promise).

Whatever must be atomic is one script. Reads are plain commands: a day's files are read in one, so a
merge or a move, which stay within their day, is seen before or after, never half.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gigapi_metadata.errors import InvalidName
from gigapi_metadata.model import IndexEntry, PlanKind, QueuedPlan
from gigapi_metadata.names import check_gigapi_dir, day_of, dir_of
from gigapi_metadata.stores.base import Columns, PlacedT, QueueRef, Selection, Steps, TableRef
from gigapi_metadata.stores.redis import documents, keys
from gigapi_metadata.stores.redis.durability import LOCAL, Confirm, Durability
from gigapi_metadata.stores.redis.queues import QueueList, plans_in
from gigapi_metadata.stores.redis.reading import Decode, decode_field, in_order, select, stream
from gigapi_metadata.stores.redis.repair import RedisRepairs
from gigapi_metadata.stores.redis.scripts import Command, Pipeline, Plain, Scan
from gigapi_metadata.stores.redis.session import Session
from gigapi_metadata.stores.redis.writing import RedisWrites

_KINDS: tuple[PlanKind, ...] = ("merge", "move", "drop")

LONGEST_PATH = 16_383
"""In characters, each of up to 4 bytes: the time index has 16 bits for the length of a name."""

LISTS_AT_ONCE = 1000
"""How many queues one round trip fetches."""


class RedisStore(RedisWrites, RedisRepairs):
    """Answers for every table of one Redis database. Holds no connection, only a client's session.

    shared: others write to the tables all the time, so the time index is not used.
    clustered: it is a cluster; keys are named accordingly.
    durability: what changes of the catalog and of values are to survive. Asking for a plan,
        renewing it and giving it back is not waited for: when that is lost, no file is.
    """

    def __init__(
        self,
        session: Session,
        *,
        shared: bool = False,
        clustered: bool = False,
        durability: Durability = LOCAL,
    ) -> None:
        self._session = session
        self._shared = shared
        self.ref: type[TableRef] = keys.ClusterTable if clustered else TableRef
        self._durability = None if durability == LOCAL else durability

    def check_paths(self, paths: Iterable[str]) -> None:
        """Refuse what crashes a GigAPI reader (FORMAT, "Redis keys"), and what is too long."""
        paths = list(paths)
        if any(len(path) > LONGEST_PATH for path in paths):
            path = max(paths, key=len)
            raise InvalidName(
                f"path '{path[:60]}…' has {len(path)} characters; up to {LONGEST_PATH} are possible"
            )
        for dir in {dir_of(path) for path in paths}:
            check_gigapi_dir(dir)

    # Reading

    def get(self, table: TableRef, path: str) -> Steps[IndexEntry | None]:
        """See `Store.get`. One HGET."""
        key = keys.files(table, day_of(path))
        document = yield Plain(("HGET", key, path))
        return None if document is None else documents.decode(document, key)

    def select(self, table: TableRef, selection: Selection) -> Steps[list[IndexEntry]]:
        """See `Store.select`. Through the time index, or from the hashes (reading.py)."""
        entries = yield from self._selected(table, selection, documents.decode_all)
        entries.sort(key=in_order)
        return entries

    def columns(self, table: TableRef, selection: Selection) -> Steps[Columns]:
        """See `Store.columns`."""
        rows = yield from self._selected(table, selection, documents.decode_rows)
        return documents.columns_of(rows)

    def _selected(
        self, table: TableRef, selection: Selection, decode: Decode[PlacedT]
    ) -> Steps[list[PlacedT]]:
        checks = self._session.full_checks
        return select(table, selection, checks, decode, shared=self._shared)

    def stream(self, table: TableRef, selection: Selection, size: int) -> Steps[None]:
        """See `Store.stream`; reading.py says what is of one moment."""
        checks = self._session.full_checks
        return stream(table, selection, checks, shared=self._shared, size=size)

    def queued(self, table: TableRef) -> Steps[list[QueuedPlan]]:
        """See `Store.queued`. Scans the keyspace: for people, not for workers."""
        lists = yield from self._lists(table)
        records = yield Command(("HGETALL", keys.attempts(table)))
        plans: list[QueuedPlan] = []
        for start in range(0, len(lists), LISTS_AT_ONCE):
            part = lists[start : start + LISTS_AT_ONCE]
            found = yield Pipeline([("LRANGE", queue.key, "0", "-1") for queue in part])
            for queue, items in zip(part, found, strict=True):
                plans.extend(plans_in(queue, items, records))
        return plans

    def queues(self, table: TableRef) -> Steps[list[QueueRef]]:
        """See `Store.queues`. Scans the keyspace: for now and then."""
        lists = yield from self._lists(table)
        found = {QueueRef(part.kind, part.layer, part.writer_id, part.iteration) for part in lists}
        return sorted(found, key=msgspec.structs.astuple)

    def _lists(self, table: TableRef) -> Steps[list[QueueList]]:
        lists: list[QueueList] = []
        for kind in _KINDS:
            head = keys.queues_head(kind, table)
            found = yield from self._scan(keys.glob_escape(head) + "*")
            parsed = (QueueList.parse(kind, key[len(head) :], key) for key in found)
            lists += sorted(queue for queue in parsed if queue is not None)
        return lists

    def planned(self) -> Steps[list[TableRef]]:
        """See `Store.planned`. Scans the keyspace: for now and then."""
        tables: set[TableRef] = set()
        for kind in _KINDS:
            found = yield from self._scan(keys.tables_pattern(kind, self.ref))
            parsed = [keys.table_of(key, self.ref) for key in found]
            tables.update(table for table, queue in filter(None, parsed) if queue)
        return sorted(tables)

    def databases(self) -> Steps[list[str]]:
        """See `Store.databases`. Scans the keyspace."""
        tables = yield from self._with_files()
        return sorted({table.database for table in tables})

    def tables(self, database: str) -> Steps[list[str]]:
        """See `Store.tables`. Scans the keyspace."""
        tables = yield from self._with_files(database)
        return sorted({table.table for table in tables})

    def _with_files(self, database: str | None = None) -> Steps[list[TableRef]]:
        found = yield from self._scan(keys.tables_pattern("folders", self.ref, database))
        parsed = [keys.table_of(key, self.ref) for key in found]
        return [table for table, rest in filter(None, parsed) if not rest]

    def folders(self, table: TableRef) -> Steps[list[str]]:
        """See `Store.folders`. One HGETALL."""
        key = keys.folders(table)
        counts = yield Command(("HGETALL", key))
        # GigAPI can leave a count at zero or below.
        return sorted(
            decode_field(dir, key)
            for dir, count in counts.items()
            if not count.startswith((b"-", b"0"))
        )

    def _scan(self, pattern: str) -> Steps[set[str]]:
        found = yield Scan(pattern)
        # A key that is no UTF-8 was not written by any GigAPI.
        return {key.decode(errors="replace") for key in found}

    # Key-value

    def kv_get(self, key: str) -> Steps[bytes | None]:
        """See `Store.kv_get`."""
        value: bytes | None = yield Command(("GET", keys.check_value_key(key)))
        return value

    def kv_put(self, key: str, value: bytes) -> Steps[None]:
        """See `Store.kv_put`."""
        yield self._command("SET", keys.check_value_key(key), value)

    def kv_delete(self, key: str) -> Steps[None]:
        """See `Store.kv_delete`."""
        yield self._command("DEL", keys.check_value_key(key))

    def _command(self, *args: str | bytes) -> Command:
        confirm = None if self._durability is None else Confirm(self._durability)
        return Command(args, writes=True, confirm=confirm)
