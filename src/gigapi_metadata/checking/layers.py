"""Looking at a table's files, layer by layer and day by day. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from gigapi_metadata.checking import files, plans, quarantine
from gigapi_metadata.checking.files import Known
from gigapi_metadata.checking.findings import Expire, Finding, Reread
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.checking.merged import were_registered
from gigapi_metadata.checking.options import Checked, CheckOptions
from gigapi_metadata.errors import (
    CorruptState,
    FileMissing,
    InvalidName,
    StorageError,
    UnknownLayer,
)
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import QueuedPlan
from gigapi_metadata.names import day_of, dir_of
from gigapi_metadata.storage import FileInfo, LocalStorage, S3Storage, Storages
from gigapi_metadata.stores.repairing import EntryRepair, StoredEntry, StoredPlan

_STRAYS = ("orphan", "leftover", "unregistered")

FEW = 10
"""Up to so many entries or files may go although they are most of a layer's."""


class LookAtFiles:
    """Compares the entries `known` with their files, and notes in `found` what is wrong. Of the
    `unreadable` entries it takes out those that can be made anew from their files. `lost`: folders
    that have more files by their count than by their entries."""

    def __init__(
        self,
        index: Index[Any],
        storages: Storages,
        footers: Footers,
        options: CheckOptions,
        tell: Callable[[int], None],
        known: Mapping[str, Known],
        unreadable: list[StoredEntry],
        found: Checked,
        lost: Collection[str],
    ) -> None:
        self._raw = TableRepairs(index)
        self._index = index
        self._storages = storages
        self._footers = footers
        self._options = options
        self._tell = tell
        self._known = known
        self._unreadable = unreadable
        self._found = found
        self._lost = () if options.force else lost
        self._writers: dict[tuple[str, str], str] = {}

    def _say(self, *findings: Finding) -> None:
        self._found.findings += findings

    def run(self, before: list[StoredPlan], aside: list[str]) -> None:
        """Look at all layers. `before`: the plans, read before the entries were."""
        self._writers = plans.writers(before)
        layers = {known.entry.layer for known in self._known.values()}
        for layer in [*self._storages.layers, *sorted(layers - set(self._storages.layers))]:
            try:
                storage = self._storages.table(layer, *self._raw.ref)
            except UnknownLayer:
                continue  # said of its entries
            try:
                if layer in layers:  # where nothing is registered, nothing need be there yet
                    self._storages.reach(layer)
                self._look_at_layer(layer, storage, before, aside)
            except StorageError as fault:
                self._say(Finding("unreachable-layer", str(fault), layer=layer))

    def _look_at_layer(
        self,
        layer: str,
        storage: LocalStorage | S3Storage,
        before: list[StoredPlan],
        aside: list[str],
    ) -> None:
        options = self._options
        young_s = options.clock() - options.min_age_s
        days: dict[str, dict[str, Known]] = {day: {} for day in storage.folders()}
        for path, known in self._known.items():
            if known.entry.layer == layer:
                days.setdefault(day_of(dir_of(path)), {})[path] = known
        days.setdefault("", {})
        claimed = files.claims(layer, _plans(before), aside, self._lost)
        suspects: list[Finding] = []
        number = unseen = 0
        for day in sorted(days):
            if day.startswith("."):
                continue
            if day and not files.is_legal(day):
                self._say_illegal(layer, day, "folder")
                continue
            try:
                found = storage.walk(day) if day else storage.list("")
            except (StorageError, InvalidName) as fault:
                self._say(Finding("unreachable-layer", str(fault), layer=layer))
                unseen += len(days[day])
                continue
            for file in found:
                if files.is_data(file.path) and not files.is_legal(file.path):
                    self._say_illegal(layer, file.path, "file")
            found = [file for file in found if files.is_legal(file.path)]
            number += sum(files.is_data(file.path) for file in found)
            suspects += files.compare(layer, days[day], found, claimed, young_s, options.adopt)
            self._look_for_unreadable(layer, storage, found)
            if options.deep:
                self._read(layer, storage, days[day], found)
            self._tell(1)
        self._found.files += number
        entries = sum(map(len, days.values())) - unseen
        if number == 0 and entries:
            text = f"{entries:,} entries, and not one file: is it mounted?"
            self._say(Finding("no-files", text, layer=layer))
            return
        found_so = self._confirmed(layer, storage, suspects, aside)
        self._say(*self._plausible(layer, entries, found_so))
        self._look_at_quarantine(layer, storage)

    def _say_illegal(self, layer: str, path: str, what: str) -> None:
        text = f"no entry can name this {what}: rename it, or take it away"
        self._say(Finding("illegal-name", text, path, layer))

    def _plausible(self, layer: str, entries: int, found: list[Finding]) -> list[Finding]:
        """`found`; where most of a layer would go, the mistake is rather elsewhere: another disk
        is mounted, the catalog was lost or is another one. Then nothing is to be done about it."""
        missing = sum(each.kind == "missing-file" for each in found)
        orphans = sum(each.kind == "orphan" for each in found)
        refused = set()
        if missing > max(entries - missing, FEW):
            text = (
                f"{missing:,} of {entries:,} entries have no file: is the right storage mounted? "
                "Nothing is done about them without --force"
            )
            self._say(Finding("no-files", text, layer=layer))
            refused.add("missing-file")
        if not self._options.adopt and (
            orphans > max(entries, FEW) or (orphans and not self._found.entries)
        ):
            text = (
                f"{orphans:,} files are named by no entry, {entries:,} are: is it the right "
                "catalog? rebuild makes a lost one anew; no file is moved without --force"
            )
            self._say(Finding("no-entries", text, layer=layer))
            refused.add("orphan")
        if self._options.force:
            return found
        return [
            msgspec.structs.replace(each, mend=None) if each.kind in refused else each
            for each in found
        ]

    def _confirmed(
        self,
        layer: str,
        storage: LocalStorage | S3Storage,
        suspects: list[Finding],
        aside: list[str],
    ) -> list[Finding]:
        """Those that are still so. A file passes from a plan to an entry to a drop; whoever looks
        at plans, then entries, then plans again meets it in one of them."""
        strays = [each for each in suspects if each.kind in _STRAYS]
        others = [each for each in suspects if each.kind not in _STRAYS]
        for looks_at_entries in (True, False):
            if strays:
                stored = _plans(self._raw.stored_plans())
                claimed = files.claims(layer, stored, aside, self._lost)
                strays = [
                    each
                    for each in strays
                    if not files.is_claimed(each.path, claimed)
                    and not (looks_at_entries and self._is_named(each.path))
                ]
        others = [each for each in others if self._is_so(storage, each)]
        strays = self._by_their_notes(layer, storage, strays)
        return [*strays, *self._readable(layer, storage, others)]

    def _by_their_notes(
        self, layer: str, storage: LocalStorage | S3Storage, strays: list[Finding]
    ) -> list[Finding]:
        """`strays`; results of merges that seem to have been registered are told apart."""
        if self._options.force:
            return strays
        living = [path for path, known in self._known.items() if known.entry.layer == layer]
        suspects = [each.path for each in strays if each.kind == "orphan"]
        were = were_registered(suspects, living, storage, layer, self._raw.ref, self._footers)
        text = (
            "no entry names it, nor any of the files that it says it was merged from: --adopt "
            "registers it, --force passes over that"
        )
        return [
            msgspec.structs.replace(
                each,
                kind="unregistered",
                detail=text,
                mend=each.mend if self._options.adopt else None,
            )
            if each.path in were
            else each
            for each in strays
        ]

    def _readable(
        self, layer: str, storage: LocalStorage | S3Storage, found: list[Finding]
    ) -> list[Finding]:
        """`found`; where a file of another size can't be read, that is what is wrong."""
        resized = {each.path: each for each in found if each.kind == "wrong-size"}
        there = []
        for path in resized:
            with suppress(StorageError):
                there.append(storage.head(path))
        for file, (outcome, _) in zip(
            there, self._footers.read(storage, self._raw.ref, layer, there), strict=True
        ):
            if isinstance(outcome, str):
                each = resized[file.path]
                text = f"{each.detail}: {_unreadable(outcome)}"
                resized[file.path] = msgspec.structs.replace(
                    each, kind="unreadable-file", detail=text, mend=None
                )
        return [
            resized.get(each.path, each) if each.kind == "wrong-size" else each for each in found
        ]

    def _is_named(self, path: str) -> bool:
        try:
            return self._index.get(path) is not None
        except CorruptState:
            return True

    def _is_so(self, storage: LocalStorage | S3Storage, finding: Finding) -> bool:
        """Whether an entry and its file still disagree."""
        if not isinstance(finding.mend, Reread):
            return True
        path, known = finding.path, finding.mend.known
        try:
            entry = self._index.get(path)
        except CorruptState:
            return False
        if entry is None or entry.layer != known.layer or entry.size_bytes != known.size_bytes:
            return False
        try:
            return storage.head(path).size != entry.size_bytes
        except FileMissing:
            return finding.kind == "missing-file"
        except StorageError:
            return False  # a link, for instance: there, but not ours to look into

    def _look_for_unreadable(
        self, layer: str, storage: LocalStorage | S3Storage, found: Iterable[FileInfo]
    ) -> None:
        """Documents that can't be read, but whose files can."""
        wanted = {each.name: each for each in self._unreadable if each.name}
        there = [file for file in found if file.path in wanted]
        for file, (outcome, _) in zip(
            there, self._footers.read(storage, self._raw.ref, layer, there), strict=True
        ):
            if isinstance(outcome, str):
                continue
            stored = wanted[file.path]
            self._unreadable.remove(stored)
            writer_id = stored.writer_id or self._writers.get((layer, file.path), "")
            anew = msgspec.structs.replace(outcome, writer_id=writer_id)
            mend = EntryRepair(stored, anew, keep=True)
            where = (stored.name, layer, stored.place)
            self._say(Finding("unreadable-entry", stored.fault, *where, mend))

    def _read(
        self,
        layer: str,
        storage: LocalStorage | S3Storage,
        known: dict[str, Known],
        found: Iterable[FileInfo],
    ) -> None:
        there = [file for file in found if file.path in known]
        for file, (outcome, _) in zip(
            there, self._footers.read(storage, self._raw.ref, layer, there), strict=True
        ):
            each = known[file.path]
            if file.size != each.entry.size_bytes:
                continue  # that is said, and what comes of it
            if isinstance(outcome, str):
                if self._index.get(file.path) is not None:
                    text, place = _unreadable(outcome), each.place
                    self._say(Finding("unreadable-file", text, file.path, layer, place))
            else:
                self._say(*files.differences(each, outcome, deep=True))

    def _look_at_quarantine(self, layer: str, storage: LocalStorage | S3Storage) -> None:
        kept = quarantine.kept_in(storage)
        age = self._options.quarantine_age_s
        now_s = self._options.clock()
        for file in kept:
            since = quarantine.kept_since(file.path)
            assert since is not None
            if age is not None and now_s - since > age:
                text = f"{file.path} is there since {round((now_s - since) / 86400, 1)} days"
                mend = Expire(layer, file.path)
                self._say(Finding("quarantined", text, file.path, layer, mend=mend))
        if kept:
            size = sum(file.size for file in kept)
            text = f"{len(kept):,} files ({size:,} bytes) are in quarantine"
            self._say(Finding("quarantined", text, quarantine.FOLDER, layer))


def _unreadable(reason: str) -> str:
    return f"{reason}; should it be lost, `rm` takes its entry out"


def _plans(stored: Iterable[StoredPlan]) -> list[QueuedPlan]:
    return [each.plan for each in stored if each.plan is not None]
