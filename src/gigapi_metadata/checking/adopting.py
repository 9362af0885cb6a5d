"""Registering files that no entry names, from their footers; unless their rows are known to be in
the catalog already, or may be.

What decides is what decides for `rebuild` (overlaps.py), with the folder's entries beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gigapi_metadata.checking import overlaps
from gigapi_metadata.checking.digests import told_apart
from gigapi_metadata.checking.findings import Quarantine
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.checking.overlaps import Candidate, Decision, Key
from gigapi_metadata.errors import CorruptState, InvalidEntry, StorageError, UnknownLayer
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry
from gigapi_metadata.names import day_of, dir_of, iteration_of
from gigapi_metadata.storage import FileInfo, Storages


class Adoption:
    """`writers`: (layer, path) -> whose file it is, as far as plans say."""

    def __init__(
        self,
        index: Index[Any],
        storages: Storages,
        footers: Footers,
        writers: Mapping[tuple[str, str], str],
    ) -> None:
        self._index = index
        self._ref = (index.database, index.table)
        self._storages = {layer: storages.table(layer, *self._ref) for layer in storages.layers}
        self._footers = footers
        self._writers = writers

    def adopt(self, wanted: Sequence[Quarantine]) -> Iterator[tuple[Quarantine, str]]:
        """Of each file "" if it is registered now, or why not. A day at a time."""
        days: dict[str, dict[Key, Quarantine]] = {}
        for mend in wanted:
            day = day_of(dir_of(mend.path))
            days.setdefault(day, {})[mend.path, mend.layer] = mend
        for day in sorted(days):
            mends = days[day]
            try:
                reasons = self._adopt_day(day, set(mends))
            except (CorruptState, StorageError, UnknownLayer) as fault:
                reasons = dict.fromkeys(mends, str(fault))
            for key, mend in mends.items():
                yield mend, reasons.get(key, "")

    def _adopt_day(self, day: str, new: set[Key]) -> dict[Key, str]:
        dirs = {dir_of(path) for path, _ in new}
        known = [
            entry
            for entry in self._index.query(folder=f"{day}/" if day else None)
            if dir_of(entry.path) in dirs
        ]
        registered = {entry.path for entry in known}
        new = {key for key in new if key[0] not in registered}
        listed = self._listed(dirs)
        reasons: dict[Key, str] = {}
        candidates: list[Candidate] = []
        for key in sorted(new - set(listed)):
            reasons[key] = "it is gone"
        for key, outcome, footer in self._read(sorted(new & set(listed)), listed):
            if isinstance(outcome, str):
                reasons[key] = outcome
            else:
                candidates.append(self._candidate(outcome, footer))
        candidates += self._beside(known, candidates, listed)
        decision, refused = self._decide(candidates, registered)
        reasons |= refused
        for key in (each.key for each in candidates if each.key in new - set(refused)):
            if key in decision.left_out:
                reasons[key] = f"{decision.left_out[key].why}, its rows would count twice"
            elif key in decision.unclear:
                reasons[key] = decision.unclear[key].replace("All count", "None is registered")
        taken: dict[str, IndexEntry] = {}
        for entry in decision.taken:
            if (entry.path, entry.layer) in new - set(reasons):
                other = taken.setdefault(entry.path, entry)
                if other is not entry:
                    reasons[entry.path, entry.layer] = f"it lies in layer {other.layer!r}, too"
        self._register(list(taken.values()), reasons)
        return {key: self._told(key, reason) for key, reason in reasons.items()}

    def _decide(
        self, candidates: list[Candidate], registered: set[str]
    ) -> tuple[Decision, dict[Key, str]]:
        """Which files count; without those that are made of files which are registered."""
        candidates, _ = told_apart(candidates, self._storages)
        refused: dict[Key, str] = {}
        while True:
            decision = overlaps.decide(candidates)
            more = {
                left.counting: f"{path!r} is registered, its rows would count twice ({left.why})"
                for (path, _), left in decision.left_out.items()
                if path in registered and left.counting[0] not in registered
            }
            if not more:
                return decision, refused
            refused |= more
            candidates = [each for each in candidates if each.key not in refused]

    def _beside(
        self,
        known: Iterable[IndexEntry],
        adopted: Sequence[Candidate],
        listed: Mapping[Key, FileInfo],
    ) -> list[Candidate]:
        """The entries of the same folders. Read are those of merged files, and of files that may be
        the same as one that is to be adopted."""
        sizes = {(dir_of(each.entry.path), each.entry.size_bytes) for each in adopted}
        wanted: dict[Key, IndexEntry] = {}
        plain: list[Candidate] = []
        for entry in known:
            key = (entry.path, entry.layer)
            same = (dir_of(entry.path), entry.size_bytes) in sizes
            if key in listed and (same or iteration_of(entry.path) > 1):
                wanted[key] = entry
            elif entry.layer in self._storages:
                plain.append(
                    Candidate(entry, self._rank(entry.layer), frozenset(), repr(key).encode())
                )
        read = self._read(sorted(wanted), listed)
        return plain + [
            self._candidate(outcome if isinstance(outcome, IndexEntry) else wanted[key], footer)
            for key, outcome, footer in read
        ]

    def _candidate(self, entry: IndexEntry, footer: bytes) -> Candidate:
        return overlaps.candidate(entry, self._rank(entry.layer), footer)

    def _rank(self, layer: str) -> int:
        return list(self._storages).index(layer)

    def _listed(self, dirs: Iterable[str]) -> dict[Key, FileInfo]:
        return {
            (file.path, layer): file
            for layer, storage in self._storages.items()
            for dir in sorted(dirs)
            for file in storage.list(dir)
        }

    def _read(
        self, keys: Sequence[Key], listed: Mapping[Key, FileInfo]
    ) -> Iterator[tuple[Key, IndexEntry | str, bytes]]:
        for layer, storage in self._storages.items():
            files = [listed[key] for key in keys if key[1] == layer]
            outcomes = self._footers.read(storage, self._ref, layer, files, raw=True)
            for file, (outcome, footer) in zip(files, outcomes, strict=True):
                yield (file.path, layer), outcome, footer

    def _register(self, entries: Sequence[IndexEntry], reasons: dict[Key, str]) -> None:
        ours = [
            msgspec.structs.replace(each, writer_id=self._writers.get((each.layer, each.path), ""))
            for each in entries
        ]
        try:
            if ours:
                self._index.batch(ours)
        except InvalidEntry:
            for each in ours:
                try:
                    self._index.batch([each])
                except InvalidEntry as fault:
                    reasons[each.path, each.layer] = str(fault)

    @staticmethod
    def _told(key: Key, reason: str) -> str:
        path, layer = key
        where = f" in layer {layer!r}" if layer else ""
        return f"{path!r}{where} is not registered: {reason}"
