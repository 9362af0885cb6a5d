"""What a Redis catalog holds, as it is stored, and mending it: see stores/repairing.py.

Reading is plain commands. Every repair is one call of repair.lua, which looks again and writes at
one moment, also beside a GigAPI process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gigapi_metadata.errors import CorruptState
from gigapi_metadata.model import PlanKind
from gigapi_metadata.names import day_of
from gigapi_metadata.planning import MAX_TIME_S
from gigapi_metadata.stores.base import Steps, TableRef
from gigapi_metadata.stores.redis import documents, keys
from gigapi_metadata.stores.redis.importing import item_of
from gigapi_metadata.stores.redis.queues import QueueList, plans_in
from gigapi_metadata.stores.redis.reading import mend
from gigapi_metadata.stores.redis.scripts import REPAIR, Call, Command, Pipeline, Plain, Scan
from gigapi_metadata.stores.redis.verifying import verify
from gigapi_metadata.stores.repairing import (
    EntryRepair,
    PlanRepair,
    StoredEntry,
    StoredPlan,
    StoreFault,
)

_KINDS: tuple[PlanKind, ...] = ("merge", "move", "drop")
_LISTS_AT_ONCE = _KEYS_AT_ONCE = 1000
_INDEX_KINDS = ("cells", "seen", "indexed", "noted", "full", "cell")
_NAMED_FURTHER = ("cell", "ready", "looked")
"""Kinds of which a table has any number of keys."""
_GO_SLASH = rb"\/"
"""How GigAPI's cjson spells what is in every path. Our documents and plans don't escape it."""

_WRITER = re.compile(rb'"writer_id":"([^"\\]*)"')

_pack = msgspec.msgpack.Encoder().encode


class RedisRepairs:
    """The ability `Repairable` of RedisStore."""

    _shared: bool

    # Reading

    def now_s(self) -> Steps[int]:
        """See `Repairable.now_s`: the server's clock."""
        time = yield Command(("TIME",))
        return int(time[0])

    def places(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.places`: the days' hashes. Scans the keyspace."""
        head = keys.files(table, "")
        found = yield from _scan(keys.glob_escape(head) + "*")
        return sorted(found)

    def place_of(self, table: TableRef, path: str, layer: str) -> str:
        """See `Repairable.place_of`."""
        return keys.files(table, day_of(path))

    def stored(self, table: TableRef, place: str) -> Steps[list[StoredEntry]]:
        """See `Repairable.stored`. One HGETALL."""
        found = yield Command(("HGETALL", place))
        return [_stored(table, place, field, document) for field, document in found.items()]

    def stored_plans(self, table: TableRef) -> Steps[list[StoredPlan]]:
        """See `Repairable.stored_plans`. Scans the keyspace."""
        lists: list[QueueList] = []
        for kind in _KINDS:
            head = keys.queues_head(kind, table)
            found = yield from _scan(keys.glob_escape(head) + "*")
            parsed = (QueueList.parse(kind, key[len(head) :], key) for key in found)
            lists += sorted(queue for queue in parsed if queue is not None)
        # Of another type, it is told by `store_faults`.
        records = yield from _unless_corrupt(Command(("HGETALL", keys.attempts(table))), {})
        plans: list[StoredPlan] = []
        for start in range(0, len(lists), _LISTS_AT_ONCE):
            part = lists[start : start + _LISTS_AT_ONCE]
            items = yield Pipeline([("LRANGE", queue.key, "0", "-1") for queue in part])
            for queue, raws in zip(part, items, strict=True):
                plans += (_stored_plan(queue, raw, records) for raw in raws)
        return plans

    def counts(self, table: TableRef) -> Steps[dict[str, str] | None]:
        """See `Repairable.counts`."""
        found = yield Command(("HGETALL", keys.folders(table)))
        return {_text(dir): _text(count) for dir, count in found.items()}

    def set_aside(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.set_aside`."""
        found = yield from _unless_corrupt(Command(("HKEYS", keys.set_aside(table))), [])
        return sorted(map(_text, found))

    def index_faults(self, table: TableRef) -> Steps[list[str]]:
        """See `Repairable.index_faults`. Script calls that look at some 10,000 files each."""
        if self._shared:
            return []  # nobody asks it
        if (yield from self._wrong_keys(table, _INDEX_KINDS)):
            return ["keys of another type are part of it"]
        head = keys.files(table, "")
        places = yield from self.places(table)
        days = [place.removeprefix(head) for place in places]
        return (yield from verify(table, days))

    def store_faults(self, table: TableRef) -> Steps[list[StoreFault]]:
        """See `Repairable.store_faults`: keys of our own that hold another type of value. Scans the
        keyspace."""
        wrong = yield from self._wrong_keys(table, keys.OWN_TYPES)
        return [
            StoreFault("wrong-key", key, f"{key} holds another type of value than it should")
            for key in wrong
        ]

    def _wrong_keys(self, table: TableRef, kinds: Iterable[str]) -> Steps[dict[str, str]]:
        """Key -> a command that finds its type wrong."""
        found: dict[str, str] = {}
        for kind in kinds:
            name, command = keys.own(kind, table), keys.OWN_TYPES[kind]
            names = [name]
            if kind in _NAMED_FURTHER:
                names = sorted((yield from _scan(keys.glob_escape(name) + ":*")))
            for start in range(0, len(names), _KEYS_AT_ONCE):
                part = names[start : start + _KEYS_AT_ONCE]
                pipeline = Pipeline([(command, _raw(key)) for key in part])
                if (yield from _unless_corrupt(pipeline, None)) is None:
                    for key in part:
                        if (yield from _unless_corrupt(Plain((command, _raw(key))), None)) is None:
                            found[key] = command
        return found

    # Mending

    def mend_faults(self, table: TableRef, faults: Sequence[StoreFault]) -> Steps[list[bool]]:
        """See `Repairable.mend_faults`: such a key is removed. One script call."""
        job = _Job(table)
        for fault in faults:
            kind = fault.place.split(":", 2)[1]
            job.wrong.append({"key": job.key(fault.place), "command": keys.OWN_TYPES[kind]})
        return (yield from job.call())

    def mend_entries(self, table: TableRef, repairs: Sequence[EntryRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_entries`. One script call."""
        job = _Job(table)
        for repair in repairs:
            old = repair.old
            entry: dict[str, Any] = {
                "files": job.key(old.place),
                "path": job.raw(old.name.encode(errors="surrogateescape")),
                "old": job.raw(old.raw),
                "keep": repair.keep,
            }
            if repair.new is not None:
                entry["to"] = job.key(keys.files(table, day_of(repair.new.path)))
                entry["to_path"] = repair.new.path
                entry["new"] = documents.encode(repair.new)
            job.entries.append(entry)
        return (yield from job.call())

    def mend_plans(self, table: TableRef, repairs: Sequence[PlanRepair]) -> Steps[list[bool]]:
        """See `Repairable.mend_plans`. One script call."""
        job = _Job(table)
        for repair in repairs:
            old, plan = repair.old, repair.old.plan or repair.new
            item: dict[str, Any] = {
                "list": job.key(old.place),
                "old": job.raw(old.raw),
                "keep": repair.keep,
                "layer": plan.layer if plan else "",
                "living": [job.file(path) for path in repair.living],
                "dead": [job.file(path) for path in repair.dead],
            }
            if repair.new is not None:
                item["new"] = msgspec.json.encode(item_of(table, repair.new)).decode()
                if old.place.endswith(":processing"):
                    item["idle"] = job.key(keys.idle(old.place.removesuffix(":processing")))
            if plan is not None and plan.kind == "merge":
                of = (plan.iteration, plan.layer, plan.writer_id)
                item |= {"ready": job.key(keys.ready(table, *of)), "dir": job.raw(_raw(plan.dir))}
            elif plan is not None and plan.kind == "drop":
                item["day"] = day_of(plan.paths[0])
            job.items.append(item)
        return (yield from job.call())

    def recount(self, table: TableRef, places: Sequence[str]) -> Steps[None]:
        """See `Repairable.recount`. One script call a day."""
        for place in places:
            job = _Job(table)
            job.days.append({"files": job.key(place)})
            yield from job.call()

    def reindex(self, table: TableRef) -> Steps[None]:
        """See `Repairable.reindex`."""
        yield from reindex(table)


def reindex(table: TableRef) -> Steps[None]:
    """Make the time index anew, of every day that has files: also of one whose folders GigAPI has
    lost count of, which nothing else names. Scans the keyspace."""
    head = keys.files(table, "")
    found = yield Scan(keys.glob_escape(head) + "*")
    yield from mend(table, anew=True, suspects=[key[len(head.encode()) :] for key in found])


class _Job:
    """What repair.lua is asked for, as it grows."""

    def __init__(self, table: TableRef) -> None:
        self._table = table
        self._keys = [keys.folders(table), keys.indexed(table), keys.set_aside(table)]
        self._numbers: dict[str, int] = {}
        self._raw: list[bytes] = []
        self._length = 0
        self.entries: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.days: list[dict[str, Any]] = []
        self.wrong: list[dict[str, Any]] = []

    def key(self, name: str) -> int:
        """The number of a key, from 1."""
        if name not in self._numbers:
            self._keys.append(name)
            self._numbers[name] = len(self._keys)
        return self._numbers[name]

    def raw(self, text: bytes) -> tuple[int, int]:
        """Where `text` stands in ARGV[2]: MessagePack as Redis reads it holds no bytes."""
        self._raw.append(text)
        self._length += len(text)
        return self._length - len(text), len(text)

    def file(self, path: str) -> dict[str, Any]:
        """Where the document of `path` is."""
        return {"files": self.key(keys.files(self._table, day_of(path))), "path": path}

    def call(self) -> Steps[list[bool]]:
        job = {
            "entries": self.entries,
            "items": self.items,
            "days": self.days,
            "wrong": self.wrong,
        }
        done = yield Call(REPAIR, self._keys, _pack(job), [b"".join(self._raw)])
        return [bool(each) for each in done]


def _unless_corrupt(request: Any, otherwise: Any) -> Steps[Any]:
    """The answer to `request`, or `otherwise` where a key is of another type."""
    try:
        return (yield request)
    except CorruptState:
        return otherwise


def _scan(pattern: str) -> Steps[set[str]]:
    return {_text(key) for key in (yield Scan(pattern))}


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _stored(table: TableRef, place: str, field: bytes, document: bytes) -> StoredEntry:
    name = _text(field)
    try:
        entry = documents.decode(document, place)
    except CorruptState as fault:
        writer = _WRITER.search(document)
        writer_id = writer[1].decode(errors="replace") if writer else ""
        shown = f"field {name!r} of {fault}"
        return StoredEntry(place, name, document, None, shown, writer_id=writer_id)
    misplaced = ""
    if entry.path != name:
        misplaced = f"its document names {entry.path!r}"
    elif (entry.database, entry.table) != table:
        misplaced = f"its document is of {entry.database!r}.{entry.table!r}"
    elif place != keys.files(table, day_of(name)):
        misplaced = f"it stands in {place}"
    foreign = _GO_SLASH in document and b'"path":"%b"' % field not in document
    return StoredEntry(place, name, document, entry, misplaced=misplaced, foreign=foreign)


def _stored_plan(queue: QueueList, raw: bytes, records: dict[bytes, bytes]) -> StoredPlan:
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
        due_s = _due_s(fields.get("time_s"))
        text = raw if due_s is not None else msgspec.json.encode({**fields, "time_s": 0})
        (plan,) = plans_in(queue, [text], records)
    except (CorruptState, *documents.FAULTS) as fault:
        shown = str(fault) if isinstance(fault, CorruptState) else f"{queue.key}: {fault}"
        return StoredPlan(queue.key, raw, None, queue.leased, fault=shown)
    held_back = queue.leased and plan.state == "waiting" and due_s is not None
    return StoredPlan(
        queue.key,
        raw,
        plan,
        queue.leased and not held_back,
        due_s,
        held_back,
        undated="time_s" not in fields,
        foreign=queue.kind != "drop" and _GO_SLASH in raw,  # commit.lua's drops are cjson's, too
    )


def _due_s(value: Any) -> int | None:
    """The second that an item's `time_s` means; None for none, or nonsense."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if abs(value) <= MAX_TIME_S else None
    return None
