"""The catalog of one table, as plain Python: what every store must be equal to.

Written from FORMAT.md and the issue, without a look at how the stores do it; slow and obvious. Ids
and the names of results are the store's to draw, so a plan here learns them when it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from gigapi_metadata import IndexEntry, Layer

Kind = Literal["merge", "move", "drop"]
Outcome = Literal["done", "again", "lost", "conflict"]


@dataclass(frozen=True, order=True)
class Place:
    """Which queue. `dir` and `iteration` count for merges only."""

    kind: Kind
    dir: str
    iteration: int
    layer: str
    writer_id: str


@dataclass(eq=False)
class Item:
    """A plan. `lease` is what the store handed out; None: it waits in the idle list."""

    place: Place
    paths: list[str]
    due_s: int
    size: int = 0
    layer_to: str = ""
    id: str = ""
    lease: int | None = None
    given_back: bool = False
    attempts: int = 0
    error: str = ""


@dataclass
class Queue:
    idle: list[Item] = field(default_factory=list)
    held: list[Item] = field(default_factory=list)


@dataclass
class ModelTable:
    layers: list[Layer]
    rows: list[list[int]]
    now_s: int
    grace_s: int = 30
    entries: dict[str, IndexEntry] = field(default_factory=dict)
    queues: dict[Place, Queue] = field(default_factory=dict)
    ended: dict[tuple[Kind, str, int], bool] = field(default_factory=dict)

    # Entries

    def batch(self, add: Iterable[IndexEntry], remove: Iterable[str]) -> None:
        gone = list(dict.fromkeys(remove))
        added = {entry.path: entry for entry in add if entry.path not in gone}
        for entry in added.values():
            known = self.entries.get(entry.path)
            if known is None or known.layer != entry.layer:
                self._plan(entry)
            self.entries[entry.path] = entry
        for path in gone:
            entry_gone = self.entries.pop(path, None)
            if entry_gone is not None:
                place = Place("drop", "", 0, entry_gone.layer, entry_gone.writer_id)
                self._queue(place).idle.append(Item(place, [path], self.now_s + self.grace_s))

    def _plan(self, entry: IndexEntry) -> None:
        iteration = int(entry.path.split(".")[-2])
        dir = entry.path.rpartition("/")[0]
        row = self.rows[iteration - 1] if 0 < iteration <= len(self.rows) else None
        names = [layer.name for layer in self.layers]
        position = names.index(entry.layer)
        ttl = self.layers[position].ttl_sec
        if row is not None and (ttl == 0 or row[0] <= ttl):
            place = Place("merge", dir, iteration, entry.layer, entry.writer_id)
            idle = self._queue(place).idle
            if idle and idle[-1].size + entry.size_bytes <= row[1]:
                idle[-1].paths.append(entry.path)
                idle[-1].size += entry.size_bytes
            else:
                due = self.now_s + row[0]
                idle.append(Item(place, [entry.path], due, size=entry.size_bytes))
        elif ttl > 0:
            place = Place("move", "", 0, entry.layer, entry.writer_id)
            following = [*names, ""][position + 1]
            due = entry.chunk_time // 10**9 + ttl
            self._queue(place).idle.append(Item(place, [entry.path], due, layer_to=following))

    def _queue(self, place: Place) -> Queue:
        return self.queues.setdefault(place, Queue())

    def query(self, after: int | None, before: int | None) -> list[IndexEntry]:
        found = [
            entry
            for entry in self.entries.values()
            if (after is None or entry.max_time >= after)
            and (before is None or entry.min_time <= before)
        ]
        if after is not None and before is not None and after > before:
            return []
        return sorted(found, key=lambda entry: (entry.min_time, entry.path))

    def paths(self) -> list[str]:
        return sorted({path.rpartition("/")[0] for path in self.entries})

    # Plans

    def living(self, item: Item) -> list[str]:
        """What the plan still has to do."""
        there = [
            path
            for path in item.paths
            if path in self.entries and self.entries[path].layer == item.place.layer
        ]
        if item.place.kind == "drop":
            return [] if there else item.paths
        return list(dict.fromkeys(there))

    def superseded(self, item: Item) -> bool:
        """Whether the file was added and removed again since: that removal's grace holds."""
        return item.place.kind == "drop" and any(
            later.paths == item.paths and later.due_s > self.now_s
            for place, queue in self.queues.items()
            for later in queue.idle
            if (place.kind, place.layer) == ("drop", item.place.layer)
        )

    def next_due(self, kind: Kind, layer: str, writer_id: str, iteration: int) -> Item | None:
        """The plan that a lease must hand out now; plans with nothing left to do are dropped."""
        for place in sorted(self.queues):
            if (place.kind, place.layer, place.writer_id) != (kind, layer, writer_id):
                continue
            if kind == "merge" and place.iteration != iteration:
                continue
            queue = self.queues[place]
            while True:
                due = [item for item in queue.idle[:1] + queue.held if item.due_s <= self.now_s]
                if not due:
                    break
                if self.living(due[0]) and not self.superseded(due[0]):
                    return due[0]
                self._forget(due[0])
        return None

    def lease(self, item: Item, id: str, lease: int) -> None:
        """`item` was handed out."""
        self._forget(item)
        self._queue(item.place).held.append(item)
        item.id, item.lease, item.due_s, item.given_back = id, lease, lease, False

    def _forget(self, item: Item) -> None:
        queue = self.queues[item.place]
        (queue.idle if item in queue.idle else queue.held).remove(item)

    def holds(self, item: Item, lease: int) -> bool:
        queue = self.queues[item.place]
        return item in queue.held and not item.given_back and item.lease == lease

    def finish(
        self, item: Item, lease: int, add: Iterable[IndexEntry], remove: Iterable[str]
    ) -> Outcome:
        """End the plan under `lease`, with what completing it adds and removes.

        Ended without its result and then completed: the result was never registered, so it is lost.
        """
        remove = list(remove)
        mark = (item.place.kind, item.id, lease)
        if self.ended.get(mark, False) >= bool(remove) and mark in self.ended:
            return "again"
        if not self.holds(item, lease):
            return "lost"
        if any(
            path not in self.entries or self.entries[path].layer != item.place.layer
            for path in remove
        ):
            return "conflict"
        self.batch(add, remove)
        self._forget(item)
        self.ended[mark] = bool(remove)
        return "done"

    def renew(self, item: Item, lease: int, renewed: int) -> None:
        assert self.holds(item, lease)
        item.lease = item.due_s = renewed

    def release(self, item: Item, lease: int, error: str | None, delay_s: int) -> None:
        assert self.holds(item, lease)
        if error is not None:
            item.attempts, item.error = item.attempts + 1, error
        item.due_s = self.now_s + delay_s
        if delay_s:
            item.given_back = True
        else:
            self._forget(item)
            item.lease = None
            self.queues[item.place].idle.insert(0, item)

    def listing(self) -> list[tuple[Any, ...]]:
        """What `plans()` must show, but for plans that have nothing left to do."""
        order = {"merge": 0, "move": 1, "drop": 2}
        shown = []
        for place in sorted(self.queues, key=lambda p: (order[p.kind], p)):
            queue = self.queues[place]
            for item in queue.idle + queue.held:
                waits = item in queue.idle or item.given_back
                if self.living(item):
                    shown.append(
                        (
                            *(place.kind, "waiting" if waits else "leased"),
                            *(place.layer, place.writer_id, place.iteration),
                            *(item.paths, item.size, item.due_s, item.attempts, item.error),
                        )
                    )
        return shown
