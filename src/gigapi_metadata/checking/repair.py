"""Mending what a check has found. Each step looks again right before it writes, and is made whole
or not at all; so it may run beside everybody else, and after a kill it is simply run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from gigapi_metadata.checking import overlaps, plans, quarantine
from gigapi_metadata.checking.findings import (
    Expire,
    Finding,
    Mend,
    Quarantine,
    Recount,
    Reindex,
    Reread,
)
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.checking.options import Checked, CheckOptions
from gigapi_metadata.errors import (
    CorruptState,
    FileMissing,
    InvalidEntry,
    InvalidName,
    StorageError,
    UnknownLayer,
)
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.index.sync import Index
from gigapi_metadata.lineage import mark
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import dir_of, iteration_of
from gigapi_metadata.storage import FileInfo, Storages
from gigapi_metadata.stores.repairing import EntryRepair, PlanRepair, StoredEntry, StoreFault

AT_ONCE = 200
"""Repairs in one request: few, so that others are not held up."""

T = TypeVar("T")


class Repaired(msgspec.Struct):
    """What became of the findings. `left` could not be mended, or had changed since."""

    mended: list[Finding] = []
    left: list[Finding] = []
    errors: list[str] = []


def repair_table(
    index: Index[Any],
    storages: Storages,
    footers: Footers,
    checked: Checked,
    options: CheckOptions = CheckOptions(),  # noqa: B008
) -> Repaired:
    """Mend what `checked` lists. To be checked again afterwards: mending can bring to light more.

    Raises:
        StoreError: the catalog failed; what was mended before stays so.
    """
    return _Repair(index, storages, footers, options).run(checked.findings)


class _Repair:
    def __init__(
        self, index: Index[Any], storages: Storages, footers: Footers, options: CheckOptions
    ) -> None:
        self._raw = TableRepairs(index)
        self._index = index
        self._storages = storages
        self._footers = footers
        self._options = options
        self._errors: list[str] = []
        self._done: set[int] = set()
        self._writers: dict[tuple[str, str], str] = {}
        self._merged: dict[tuple[str, str], dict[str, frozenset[str]]] = {}

    def run(self, findings: Sequence[Finding]) -> Repaired:
        mends = list({id(each.mend): each.mend for each in findings if each.mend}.values())
        if any(mend.adopt for mend in _of(mends, Quarantine)):
            self._writers = plans.writers(self._raw.stored_plans())  # before dead ones are removed
        faults = _of(mends, StoreFault)
        if faults:
            done = self._raw.mend_faults(faults)
            self._done |= {
                id(fault) for fault, is_done in zip(faults, done, strict=True) if is_done
            }
        self._entries(_of(mends, EntryRepair))
        self._reread(_of(mends, Reread))
        self._plans(_of(mends, PlanRepair))
        places = sorted({mend.place for mend in _of(mends, Recount)})
        self._raw.recount(places)
        self._done |= {id(mend) for mend in _of(mends, Recount)}
        if _of(mends, Reindex):
            self._raw.reindex()
        self._done |= {id(mend) for mend in _of(mends, Reindex)}
        for mend in _of(mends, Quarantine):
            self._quarantine(mend)
        for old in _of(mends, Expire):
            with self._noting():
                self._storages.table(old.layer, *self._raw.ref).delete(old.path)
                self._done.add(id(old))
        result = Repaired([], [], self._errors)
        for finding in findings:
            mended = finding.mend is not None and id(finding.mend) in self._done
            (result.mended if mended else result.left).append(finding)
        return result

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what fails about one file, so that the rest is mended all the same."""
        try:
            yield
        except (StorageError, InvalidEntry, InvalidName, UnknownLayer) as fault:
            self._errors.append(str(fault))

    def _entries(self, repairs: Sequence[EntryRepair]) -> None:
        for part in _parts(repairs):
            for repair, done in zip(part, self._raw.mend_entries(part), strict=True):
                if done:
                    self._done.add(id(repair))

    def _plans(self, repairs: Sequence[PlanRepair]) -> None:
        for part in _parts(repairs):
            for repair, done in zip(part, self._raw.mend_plans(part), strict=True):
                if done:
                    self._done.add(id(repair))

    # Entries whose files say otherwise

    def _reread(self, mends: Sequence[Reread]) -> None:
        places: dict[str, list[Reread]] = {}
        for mend in mends:
            places.setdefault(mend.place, []).append(mend)
        for place, wanted in places.items():
            stored = {each.entry.path: each for each in self._raw.stored(place) if each.entry}
            repairs: dict[int, EntryRepair] = {}
            for mend in wanted:
                there = stored.get(mend.known.path)
                if there is not None and _bare(there) == mend.known:
                    with self._noting():
                        repair = self._repair_of(mend, there)
                        if repair is not None:
                            repairs[id(mend)] = repair
            for part in _parts(list(repairs.items())):
                done = self._raw.mend_entries([repair for _, repair in part])
                self._done |= {key for (key, _), is_done in zip(part, done, strict=True) if is_done}

    def _repair_of(self, mend: Reread, stored: StoredEntry) -> EntryRepair | None:
        """How to mend one entry, by its file as it is now."""
        known = mend.known
        storage = self._storages.table(known.layer, *self._raw.ref)
        try:
            file = storage.head(known.path)
        except FileMissing:
            # Its own finding says that the file is gone; any other leaves the entry.
            return EntryRepair(stored, None) if mend.gone else None
        if mend.gone:
            return None
        read = self._read(known.layer, file)
        new = msgspec.structs.replace(read, writer_id=known.writer_id, chunk_time=known.chunk_time)
        return EntryRepair(stored, new)

    def _read(self, layer: str, file: FileInfo) -> IndexEntry:
        storage = self._storages.table(layer, *self._raw.ref)
        ((outcome, _),) = self._footers.read(storage, self._raw.ref, layer, [file])
        if isinstance(outcome, str):
            raise StorageError(f"{file.path!r} in layer {layer!r}: {outcome}")
        return outcome

    # Files that are nobody's

    def _quarantine(self, mend: Quarantine) -> None:
        storage = self._storages.table(mend.layer, *self._raw.ref)
        with self._noting():
            if mend.adopt:
                self._adopt(mend, storage.head(mend.path))
                return
            now_s = self._options.clock()
            if quarantine.take_away(storage, mend.path, now_s, lambda: self._is_named(mend.path)):
                self._done.add(id(mend))

    def _adopt(self, mend: Quarantine, file: FileInfo) -> None:
        """Register a file, unless its rows are known to be in the catalog already."""
        storage = self._storages.table(mend.layer, *self._raw.ref)
        read = self._footers.read(storage, self._raw.ref, mend.layer, [file], raw=True)
        ((entry, footer),) = read
        if isinstance(entry, str):
            raise StorageError(f"{file.path!r} in layer {mend.layer!r}: {entry}")
        group = self._merged_beside(mend.layer, dir_of(mend.path))
        living = {each.path for each in self._index.query(folder=f"{dir_of(mend.path)}/")}
        sources = overlaps.marks_of(footer)
        into = next((path for path, marks in group.items() if mark(mend.path) in marks), None)
        source = next((path for path in sorted(living) if mark(path) in sources), None)
        if into is not None or source is not None:
            of = (
                f"merged into {into!r}" if into is not None else f"made of {source!r}, among others"
            )
            raise StorageError(
                f"{mend.path!r} is not registered: it was {of}, its rows would count twice; "
                "without --adopt it is moved to quarantine"
            )
        if not self._is_named(mend.path):
            writer_id = self._writers.get((mend.layer, mend.path), "")
            self._index.batch([msgspec.structs.replace(entry, writer_id=writer_id)])
            self._done.add(id(mend))

    def _merged_beside(self, layer: str, dir: str) -> dict[str, frozenset[str]]:
        """Of a folder's entries those that note what they were merged from, and that."""
        known = self._merged.get((layer, dir))
        if known is None:
            entries = self._index.query(folder=f"{dir}/", layer=layer)
            wanted = {entry.path for entry in entries if iteration_of(entry.path) > 1}
            storage = self._storages.table(layer, *self._raw.ref)
            files = [file for file in storage.list(dir) if file.path in wanted]
            read = self._footers.read(storage, self._raw.ref, layer, files, raw=True)
            known = {
                file.path: overlaps.marks_of(footer)
                for file, (_, footer) in zip(files, read, strict=True)
            }
            self._merged[layer, dir] = known
        return known

    def _is_named(self, path: str) -> bool:
        try:
            return self._index.get(path) is not None
        except CorruptState:
            return True


def _bare(stored: StoredEntry) -> IndexEntry | None:
    if stored.entry is None:
        return None
    return msgspec.structs.replace(stored.entry, min_data=None, max_data=None)


def _of(mends: Iterable[Mend], kind: type[T]) -> list[T]:
    return [mend for mend in mends if isinstance(mend, kind)]


def _parts(repairs: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(repairs), AT_ONCE):
        yield repairs[start : start + AT_ONCE]
