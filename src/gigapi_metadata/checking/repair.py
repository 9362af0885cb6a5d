"""Mending what a check has found. Each step looks again right before it writes, and is made whole
or not at all; so it may run beside everybody else, and after a kill it is simply run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from gigapi_metadata.checking import overlaps, plans, quarantine
from gigapi_metadata.checking.adopting import Adoption
from gigapi_metadata.checking.files import is_data
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
from gigapi_metadata.storage import FileInfo, LocalStorage, Storages
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
        self._merged: dict[tuple[str, str], dict[str, frozenset[str]]] = {}

    def run(self, findings: Sequence[Finding]) -> Repaired:
        mends = list({id(each.mend): each.mend for each in findings if each.mend}.values())
        strays = _of(mends, Quarantine)
        adopted = [mend for mend in strays if mend.adopt]
        # Read before dead ones are removed.
        writers = plans.writers(self._raw.stored_plans()) if adopted else {}
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
        if adopted:
            self._adopt(adopted, writers)
        for mend in strays:
            if not mend.adopt:
                self._quarantine(mend)
        self._expire(_of(mends, Expire))
        result = Repaired([], [], self._errors)
        for finding in findings:
            mended = finding.mend is not None and id(finding.mend) in self._done
            (result.mended if mended else result.left).append(finding)
        return result

    def _expire(self, mends: Sequence[Expire]) -> None:
        for old in mends:
            with self._noting():
                self._storages.table(old.layer, *self._raw.ref).delete(old.path)
                self._done.add(id(old))
        for layer in sorted({old.layer for old in mends}):
            storage = self._storages.table(layer, *self._raw.ref)
            if isinstance(storage, LocalStorage):
                with self._noting():
                    storage.remove_empty(quarantine.FOLDER)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what fails about one file, so that the rest is mended all the same."""
        try:
            yield
        except (StorageError, InvalidEntry, InvalidName, UnknownLayer) as fault:
            self._errors.append(str(fault))

    def _entries(self, repairs: Sequence[EntryRepair]) -> None:
        for part in _parts(repairs):
            safe = [self._unless_merged(repair) for repair in part]
            for repair, done in zip(part, self._raw.mend_entries(safe), strict=True):
                if done:
                    self._done.add(id(repair))

    def _unless_merged(self, repair: EntryRepair) -> EntryRepair:
        """As it is; but a stray document of a file that a merged file names is only put aside."""
        new = repair.new
        if not repair.old.misplaced or new is None:
            return repair
        with self._noting():
            beside = self._merged_beside(new.layer, dir_of(new.path))
            if any(mark(new.path) in marks for marks in beside.values()):
                return EntryRepair(repair.old, None, keep=True)
        return repair

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
            still = [
                (mend, there)
                for mend in wanted
                for there in [stored.get(mend.known.path)]
                if there is not None and _bare(there) == mend.known
            ]
            for part in _parts(list(self._repairs_of(still))):
                done = self._raw.mend_entries([repair for _, repair in part])
                self._done |= {key for (key, _), is_done in zip(part, done, strict=True) if is_done}

    def _repairs_of(
        self, wanted: Iterable[tuple[Reread, StoredEntry]]
    ) -> Iterator[tuple[int, EntryRepair]]:
        """How to mend entries, by their files as they are now; with the mend's id."""
        layers: dict[str, list[tuple[Reread, StoredEntry, FileInfo]]] = {}
        for mend, stored in wanted:
            known = mend.known
            with self._noting():
                try:
                    file = self._storages.table(known.layer, *self._raw.ref).head(known.path)
                except FileMissing:
                    # Its own finding says that the file is gone; any other leaves the entry.
                    if mend.gone:
                        yield id(mend), EntryRepair(stored, None)
                    continue
                if not mend.gone:
                    layers.setdefault(known.layer, []).append((mend, stored, file))
        for layer, group in layers.items():
            storage = self._storages.table(layer, *self._raw.ref)
            files = [file for _, _, file in group]
            read = self._footers.read(storage, self._raw.ref, layer, files)
            for (mend, stored, file), (outcome, _) in zip(group, read, strict=True):
                if isinstance(outcome, str):
                    self._errors.append(
                        f"{file.path!r} in layer {layer!r}: {outcome}; should the file be lost, rm "
                        "takes its entry out"
                    )
                    continue
                known = mend.known
                new = msgspec.structs.replace(
                    outcome, writer_id=known.writer_id, chunk_time=known.chunk_time
                )
                yield id(mend), EntryRepair(stored, new)

    # Files that are nobody's

    def _quarantine(self, mend: Quarantine) -> None:
        storage = self._storages.table(mend.layer, *self._raw.ref)
        with self._noting():
            now_s = self._options.clock()
            if quarantine.take_away(storage, mend.path, now_s, lambda: self._is_named(mend.path)):
                self._done.add(id(mend))

    def _adopt(self, mends: Sequence[Quarantine], writers: Mapping[tuple[str, str], str]) -> None:
        adoption = Adoption(self._index, self._storages, self._footers, writers)
        for mend, reason in adoption.adopt(mends):
            if reason:
                self._errors.append(reason)
            else:
                self._done.add(id(mend))

    def _merged_beside(self, layer: str, dir: str) -> dict[str, frozenset[str]]:
        """Of a folder's entries those that note what they were merged from, and that."""
        known = self._merged.get((layer, dir))
        if known is None:
            storage = self._storages.table(layer, *self._raw.ref)
            files = [
                file
                for file in storage.list(dir)
                if is_data(file.path) and iteration_of(file.path) > 1 and self._is_named(file.path)
            ]
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
