"""What one request sees of a table, and what it changes.

Files are parsed when they are needed and kept for the requests that follow; what another process
has changed since is told by its version and read again. Changes are made to copies and written by
whoever runs the request (connection.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.json import files, partition, queues
from gigapi_metadata.stores.json.journal import Write
from gigapi_metadata.stores.json.partition import Partition
from gigapi_metadata.stores.json.places import (
    METADATA,
    PLANS,
    Place,
    TablePlaces,
    check_inside,
    check_own_folders,
    dirs_of,
    older_dirs_of,
)
from gigapi_metadata.stores.json.queues import NO_PLANS, Heads, Plans, Queued

T = TypeVar("T")

CACHE_BYTES = 64 * 1024 * 1024
"""How much text is kept parsed; the objects take about four times as much memory."""


class _Kept(NamedTuple):
    version: files.Version
    value: Any


class FileCache:
    """Parsed files by path. Threads may share it; it has no lock, and needs none (the GIL)."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0

    def load(
        self, path: str, moved: Mapping[str, str], parse: Callable[[bytes], T], absent: T
    ) -> T:
        """The value of the file at `path`, or of the one in `moved` that is to take its place."""
        if path in moved and (found := files.read(moved[path])) is not None:
            return parse(found[1])
        kept = self._kept.get(path)
        version = files.version_of(path)
        if version is None:
            self._kept.pop(path, None)
            return absent
        if kept is not None and kept.version == version:
            value: T = kept.value
            return value
        found = files.read(path)
        if found is None:
            return absent
        value = parse(found[1])
        if found[2]:
            self.keep(path, found[0], value)
        return value

    def keep(self, path: str, version: files.Version, value: Any) -> None:
        """Remember what a version holds."""
        self._kept.pop(path, None)
        self._kept[path] = _Kept(version, value)
        self._bytes += version.size
        if self._bytes > CACHE_BYTES:
            self._shrink()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._bytes = 0

    def _shrink(self) -> None:
        kept = list(self._kept.items())
        self._bytes = sum(each.version.size for _, each in kept)
        for path, each in kept:
            if self._bytes <= CACHE_BYTES // 2:
                return
            if self._kept.pop(path, None) is not None:
                self._bytes -= each.version.size


class Session:
    """A table during one request. `moved`: where files are that an open journal lists."""

    def __init__(
        self, places: TablePlaces, cache: FileCache, moved: Mapping[str, str] | None = None
    ) -> None:
        self.places = places
        self._cache = cache
        self._moved = moved or {}
        self._partitions: dict[tuple[Place, str], Partition] = {}
        self._plans: dict[tuple[Place, str], Plans] = {}
        self._inside: set[tuple[Place, str]] = set()

    # Reading

    def dirs(self, place: Place, prefix: str = "") -> Iterator[str]:
        """The folders that may hold a `metadata.json` with paths that begin with `prefix`."""
        self._check_inside(place, None)
        for dir in dirs_of(place, prefix):
            self._inside.add((place, dir))
            yield dir

    def older_dirs(self, place: Place, prefix: str = "") -> Iterator[str]:
        """As `dirs`, of the older form."""
        self._check_inside(place, None)
        yield from older_dirs_of(place, prefix)

    def partition(self, place: Place, dir: str) -> Partition:
        """The entries in `dir`. Not to be changed.

        Raises:
            CorruptState: its `metadata.json` is damaged.
        """
        edited = self._partitions.get((place, dir))
        if edited is not None:
            return edited
        self._check_inside(place, dir)
        return self._load(place, dir, place.data(dir, METADATA), older=False)

    def older_partition(self, place: Place, dir: str) -> Partition:
        """The entries in `dir` in the older form."""
        path = place.older(dir)
        if files.version_of(path) is None:
            return Partition(dir)
        check_inside(place.base, path)
        return self._load(place, dir, path, older=True)

    def plans(self, place: Place, dir: str) -> Plans:
        """Our plans for `dir`.

        Raises:
            CorruptState: the file is damaged.
        """
        edited = self._plans.get((place, dir))
        if edited is not None:
            return edited
        self._check_inside(place, dir)
        path = place.data(dir, PLANS)
        return self._cache.load(
            path, self._moved, lambda content: queues.decode(content, path), NO_PLANS
        )

    def queued(self, place: Place, dir: str, rules: Rules) -> list[Queued]:
        """Every plan for `dir`, also those that `rules` would make for files of others."""
        return queues.queued(self.plans(place, dir), self.partition(place, dir), rules)

    def heads(self, place: Place, dir: str, rules: Rules) -> Heads:
        """What each queue of `dir` may hand out next."""
        here, plans = self.partition(place, dir), self.plans(place, dir)
        if (place, dir) in self._partitions:
            return queues.heads(self.queued(place, dir, rules))
        if here.memo is None or here.memo[0] is not plans or here.memo[1] is not rules:
            here.memo = (plans, rules, queues.heads(self.queued(place, dir, rules)))
        heads: Heads = here.memo[2]
        return heads

    def _load(self, place: Place, dir: str, path: str, *, older: bool) -> Partition:
        def parse(content: bytes) -> Partition:
            return partition.decode(content, path, self.places.ref, place.layer, dir, older=older)

        return self._cache.load(path, self._moved, parse, Partition(dir))

    def check_inside(self) -> None:
        """Refuse a table whose folders a symbolic link leads out of its layer, or whose own folders
        are links (StoreError)."""
        check_own_folders(self.places)

    def _check_inside(self, place: Place, dir: str | None) -> None:
        key = (place, "/" if dir is None else dir)
        if key not in self._inside:
            check_inside(place.base, place.folder if dir is None else place.data(dir, ""))
            self._inside.add(key)

    # Changing

    def edit(self, place: Place, dir: str) -> Partition:
        """The entries in `dir`, to be changed."""
        edited = self._partitions.get((place, dir))
        if edited is None:
            edited = self.partition(place, dir).copy()
            # An id is not given again when the newest file has left.
            edited.last_id = max(edited.last_id, self.plans(place, dir).last_id)
            self._partitions[place, dir] = edited
        return edited

    def set_plans(self, place: Place, dir: str, plans: Plans) -> None:
        """Have `plans` in the place of those of `dir`."""
        if plans != self.plans(place, dir):
            self._plans[place, dir] = plans

    def replace(self, place: Place, dir: str, entries: Partition) -> None:
        """Have `entries` in the place of what `dir` has, which need not be readable."""
        self._partitions[place, dir] = entries

    def replace_plans(self, place: Place, dir: str, plans: Plans) -> None:
        """As `replace`, of the plans."""
        self._plans[place, dir] = plans

    def writes(self) -> list[Write]:
        """The new versions: entries before plans, so that no plan is there without its files."""
        entries = [
            Write(place, dir, METADATA, edited.encode(self.places.ref))
            for (place, dir), edited in self._partitions.items()
        ]
        plans = [
            Write(place, dir, PLANS, queues.encode(edited))
            for (place, dir), edited in self._plans.items()
        ]
        return [*entries, *plans]

    def written(self, writes: list[Write], versions: list[files.Version]) -> None:
        """Remember what has been written."""
        for write, version in zip(writes, versions, strict=True):
            edited: Mapping[tuple[Place, str], Partition | Plans]
            edited = self._partitions if write.name == METADATA else self._plans
            self._cache.keep(write.target, version, edited[write.place, write.dir])
