"""Reading a table and its files, and saying what is wrong. Changes nothing.

Others write meanwhile, and nothing is read at one moment. So whatever looks wrong is looked at once
more before it is said; what has changed by then was on its way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gigapi_metadata.checking import files, plans, quarantine
from gigapi_metadata.checking.files import DEFAULT_MIN_AGE_S, Known
from gigapi_metadata.checking.findings import (
    Expire,
    Finding,
    Quarantine,
    Recount,
    Reindex,
    Reread,
)
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.errors import (
    CorruptState,
    FileMissing,
    InvalidEntry,
    MetadataError,
    StorageError,
    UnknownLayer,
)
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import QueuedPlan, check_entry
from gigapi_metadata.names import check_path, day_of, dir_of, iteration_of
from gigapi_metadata.storage import FileInfo, LocalStorage, S3Storage, Storages
from gigapi_metadata.stores.repairing import EntryRepair, PlanRepair, StoredEntry, StoredPlan

Tell = Callable[[int], None]

FEW = 10
"""Up to so many entries or files may go although they are most of a layer's."""

SOME = 1000
"""So many suspects are looked at once more one by one, for a note."""


class CheckOptions(msgspec.Struct, frozen=True):
    """What to look at.

    deep: read every file's footer, not only of those whose size differs.
    storage: look at the files at all.
    min_age_s: files younger than this are nobody's business.
    max_lease_s: a longer lease has no end.
    force: mend also where most entries or files of a layer would go.
    adopt: files that nobody names are to be registered, not to be taken away.
    quarantine_age_s: quarantined files older than this are to be deleted; None: none are.
    clock: the Unix time, to judge the age of files by.
    """

    deep: bool = False
    storage: bool = True
    min_age_s: float = DEFAULT_MIN_AGE_S
    max_lease_s: int = plans.DEFAULT_MAX_LEASE_S
    force: bool = False
    adopt: bool = False
    quarantine_age_s: float | None = None
    clock: Callable[[], float] = time.time


class Checked(msgspec.Struct):
    """What was looked at, and what was found."""

    database: str
    table: str
    entries: int = 0
    plans: int = 0
    files: int = 0
    findings: list[Finding] = []

    @property
    def faults(self) -> list[Finding]:
        """The findings that make a check fail."""
        return [each for each in self.findings if each.level == "fault"]


def check_table(
    index: Index[Any],
    storages: Storages,
    footers: Footers,
    options: CheckOptions = CheckOptions(),  # noqa: B008
    tell: Tell = lambda days: None,
) -> Checked:
    """Check one table. Read-only; beside whoever else uses it. `tell` hears of each day done.

    Raises:
        StoreError: the catalog can't be read at all.
    """
    return _Look(index, storages, footers, options, tell).run()


class _Look:
    def __init__(
        self,
        index: Index[Any],
        storages: Storages,
        footers: Footers,
        options: CheckOptions,
        tell: Tell,
    ) -> None:
        self._raw = TableRepairs(index)
        self._index = index
        self._storages = storages
        self._footers = footers
        self._options = options
        self._tell = tell
        self._known: dict[str, Known] = {}
        self._found = Checked(index.database, index.table, findings=[])
        self._unreadable: list[StoredEntry] = []
        self._counts = self._raw.counts() is not None
        self._counted: dict[str, int] = {}

    def run(self) -> Checked:
        plans_before = self._raw.stored_plans()
        self._look_at_entries()
        self._found.entries = len(self._known)
        self._found.plans = len(plans_before)
        self._look_at_plans(plans_before)
        self._look_at_counts()
        for fault in self._raw.index_faults():
            self._say(Finding("wrong-index", fault, mend=Reindex()))
        aside = self._raw.set_aside()
        if aside:
            text = f"{len(aside)} put aside by earlier repairs, such as {aside[0]!r}"
            self._say(Finding("set-aside", text))
        if self._options.storage:
            self._look_at_files(plans_before, aside)
        for stored in self._unreadable:
            mend = EntryRepair(stored, None, keep=True)
            self._say(
                Finding(
                    "unreadable-entry", stored.fault, stored.name, place=stored.place, mend=mend
                )
            )
        return self._found

    def _say(self, *findings: Finding) -> None:
        self._found.findings += findings

    # Entries

    def _look_at_entries(self) -> None:
        strange: dict[str, int] = {}
        for place in self._raw.places():
            for stored in self._raw.stored(place):
                self._count(place, stored, self._counted)
                self._look_at_entry(stored, strange)
            self._tell(1)
        for layer, number in strange.items():
            known = ", ".join(map(repr, self._layers)) or "none"
            text = f"{number:,} entries lie in layer {layer!r}; the configured layers are {known}"
            self._say(Finding("unknown-layer", text, layer=layer))

    @property
    def _layers(self) -> list[str]:
        return [layer.name for layer in self._raw.rules.layers]

    def _look_at_entry(self, stored: StoredEntry, strange: dict[str, int]) -> None:
        entry, ref = stored.entry, self._raw.ref
        if entry is None:
            self._unreadable.append(stored)
            return
        if stored.misplaced:
            right = msgspec.structs.replace(entry, database=ref.database, table=ref.table)
            mend = EntryRepair(stored, right)
            text = f"field {stored.name!r} of {stored.place}: {stored.misplaced}"
            self._say(Finding("misplaced-entry", text, entry.path, entry.layer, stored.place, mend))
            return
        try:
            check_entry(entry, *ref)
        except InvalidEntry as fault:
            self._invalid(stored, str(fault))
            if not _is_legal(entry.path):
                return
        if entry.layer not in (self._layers or [""]):
            strange[entry.layer] = strange.get(entry.layer, 0) + 1
        bare = msgspec.structs.replace(entry, min_data=None, max_data=None)
        self._known[entry.path] = Known(stored.place, bare)

    def _invalid(self, stored: StoredEntry, fault: str) -> None:
        entry = stored.entry
        assert entry is not None
        mend: EntryRepair | Reread = Reread(
            stored.place, msgspec.structs.replace(entry, min_data=None, max_data=None)
        )
        if not _is_legal(entry.path):
            mend = EntryRepair(stored, None, keep=True)
        where = (entry.path, entry.layer, stored.place)
        self._say(Finding("invalid-entry", f"{stored.place}: {fault}", *where, mend))

    # Counts and plans

    def _look_at_counts(self) -> None:
        wrong = self._wrong_counts(self._counted)
        if not wrong:
            return
        # Anything that was being written has been, by now.
        counted: dict[str, int] = {}
        for day in {day_of(dir) for dir in wrong}:
            place = self._raw.place_of(f"{day}/x", "")
            for stored in self._raw.stored(place):
                self._count(place, stored, counted)
        again = self._wrong_counts(counted)
        for dir in sorted(wrong):
            if again.get(dir) == wrong[dir]:
                said, right = wrong[dir]
                text = f"{dir!r} is said to hold {said or 'no'} files and holds {right:,}"
                place = self._raw.place_of(f"{dir}/x", "")
                self._say(Finding("wrong-count", text, dir, place=place, mend=Recount(place)))

    def _count(self, place: str, stored: StoredEntry, counted: dict[str, int]) -> None:
        if self._counts and place == self._raw.place_of(stored.name, ""):
            dir = dir_of(stored.name)
            counted[dir] = counted.get(dir, 0) + 1

    def _wrong_counts(self, right: dict[str, int]) -> dict[str, tuple[str, int]]:
        """Dir -> (count as stored, right one), where they differ."""
        counts = self._raw.counts()
        if counts is None:
            return {}
        return {
            dir: (counts.get(dir, ""), right.get(dir, 0))
            for dir in {*counts, *right}
            if counts.get(dir, "") != str(right.get(dir, 0) or "")
        }

    def _look_at_plans(self, before: list[StoredPlan]) -> None:
        found = self._plan_findings(before)
        if found:
            # Only of plans that have not changed since, and with the entries as they are now.
            mends = [each.mend for each in found if isinstance(each.mend, PlanRepair)]
            for path in {path for mend in mends for path in (*mend.living, *mend.dead)}:
                self._look_again(path)
            after = {(each.place, each.raw) for each in self._raw.stored_plans()}
            found = self._plan_findings(
                [each for each in before if (each.place, each.raw) in after]
            )
        self._say(*found)
        self._look_for_unplanned()

    def _look_for_unplanned(self) -> None:
        rules = self._raw.rules
        waiting = {
            path
            for path, (_, entry) in self._known.items()
            if rules.queue_for(entry.layer, iteration_of(path)) is not None
        }
        if not waiting:
            return
        try:
            shown = self._index.plans()
        except CorruptState:
            return  # that is said
        named = {path for plan in shown if plan.kind != "drop" for path in plan.paths}
        left = sorted(waiting - named)
        if len(left) <= SOME:
            left = [path for path in left if self._index.get(path) is not None]
        if left:
            text = (
                f"{len(left):,} files that the configuration would merge or move are in no plan, "
                f"such as {left[0]!r}"
            )
            self._say(Finding("not-planned", text))

    def _plan_findings(self, stored: list[StoredPlan]) -> list[Finding]:
        layer_of = {path: known.entry.layer for path, known in self._known.items()}
        rules, now_s = self._raw.rules, self._raw.now_s()
        unreadable = {each.name for each in self._unreadable}
        max_lease_s = self._options.max_lease_s
        return plans.plan_findings(stored, layer_of, rules, now_s, max_lease_s, unreadable)

    def _look_again(self, path: str) -> None:
        """Know of one path what the catalog says now."""
        try:
            entry = self._index.get(path)
        except MetadataError:
            return
        if entry is None:
            self._known.pop(path, None)
        elif path not in self._known:
            bare = msgspec.structs.replace(entry, min_data=None, max_data=None)
            self._known[path] = Known(self._raw.place_of(path, entry.layer), bare)

    # Files

    def _look_at_files(self, before: list[StoredPlan], aside: list[str]) -> None:
        layers = {known.entry.layer for known in self._known.values()}
        for layer in [*self._storages.layers, *sorted(layers - set(self._storages.layers))]:
            try:
                storage = self._storages.table(layer, *self._raw.ref)
            except UnknownLayer:
                continue  # said of its entries
            try:
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
        claimed = files.claims(layer, _plans(before), aside)
        suspects: list[Finding] = []
        number = unseen = 0
        for day in sorted(days):
            if day.startswith("."):
                continue
            try:
                found = storage.walk(day) if day else storage.list("")
            except StorageError as fault:
                self._say(Finding("unreachable-layer", str(fault), layer=layer))
                unseen += len(days[day])
                continue
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
        strays = [each for each in suspects if isinstance(each.mend, Quarantine)]
        others = [each for each in suspects if not isinstance(each.mend, Quarantine)]
        for looks_at_entries in (True, False):
            if strays:
                claimed = files.claims(layer, _plans(self._raw.stored_plans()), aside)
                strays = [
                    each
                    for each in strays
                    if not files.is_claimed(each.path, claimed)
                    and not (looks_at_entries and self._is_named(each.path))
                ]
        return [*strays, *(each for each in others if self._is_so(storage, each))]

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
            mend = EntryRepair(stored, outcome, keep=True)
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
            if isinstance(outcome, str):
                if self._index.get(file.path) is not None:
                    place = each.place
                    self._say(Finding("unreadable-file", outcome, file.path, layer, place))
                continue
            if file.size == each.entry.size_bytes:
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


def _plans(stored: Iterable[StoredPlan]) -> list[QueuedPlan]:
    return [each.plan for each in stored if each.plan is not None]


def _is_legal(path: str) -> bool:
    try:
        check_path(path)
    except MetadataError:
        return False
    return True
