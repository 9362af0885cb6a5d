"""Reading a table and its files, and saying what is wrong. Changes nothing.

Others write meanwhile, and nothing is read at one moment. So whatever looks wrong is looked at once
more before it is said; what has changed by then was on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gigapi_metadata.checking import plans
from gigapi_metadata.checking.files import Known, is_legal
from gigapi_metadata.checking.findings import Finding, Recount, Reindex, Reread
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.checking.layers import LookAtFiles
from gigapi_metadata.checking.options import Checked, CheckOptions
from gigapi_metadata.errors import CorruptState, InvalidEntry, MetadataError
from gigapi_metadata.index.repairs import TableRepairs
from gigapi_metadata.index.sync import Index
from gigapi_metadata.names import day_of, dir_of, iteration_of
from gigapi_metadata.storage import Storages
from gigapi_metadata.stores.repairing import EntryRepair, PlanRepair, StoredEntry, StoredPlan
from gigapi_metadata.validation import check_entry

Tell = Callable[[int], None]

SOME = 1000
"""So many suspects are looked at once more one by one, for a note."""


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
        self._foreign = False
        self._leaving: set[tuple[str, str]] = set()
        self._lost: set[str] = set()

    def run(self) -> Checked:
        plans_before = self._raw.stored_plans()
        self._leaving = {
            (each.plan.layer, path)
            for each in plans_before
            if each.plan is not None and each.plan.kind == "drop"
            for path in each.plan.paths
        }
        self._look_at_entries()
        self._found.entries = len(self._known)
        self._found.plans = len(plans_before)
        self._look_at_plans(plans_before)
        self._look_at_counts()
        for each in self._raw.store_faults():
            self._say(Finding(each.kind, each.text, place=each.place, mend=each))
        for fault in self._raw.index_faults():
            self._say(Finding("wrong-index", fault, mend=Reindex()))
        aside = self._raw.set_aside()
        if aside:
            text = f"{len(aside)} put aside by earlier repairs, such as {aside[0]!r}"
            self._say(Finding("set-aside", text))
        if self._options.storage:
            LookAtFiles(
                self._index,
                self._storages,
                self._footers,
                self._options,
                self._tell,
                self._known,
                self._unreadable,
                self._found,
                self._lost,
            ).run(plans_before, aside)
        for stored in self._unreadable:
            mend = EntryRepair(stored, None, keep=True)
            self._say(
                Finding(
                    "unreadable-entry", stored.fault, stored.name, place=stored.place, mend=mend
                )
            )
        self._keep_evidence()
        return self._found

    def _keep_evidence(self) -> None:
        """Plans and counts that show that a file was registered stay as they are until it is."""
        lost = {each.path for each in self._found.findings if each.kind == "unregistered"}
        places = {self._raw.place_of(path, "") for path in lost}

        def shows(mend: object) -> bool:
            if isinstance(mend, PlanRepair):
                return mend.old.plan is not None and not lost.isdisjoint(mend.old.plan.paths)
            return isinstance(mend, Recount) and mend.place in places

        self._found.findings = [
            msgspec.structs.replace(each, mend=None) if shows(each.mend) else each
            for each in self._found.findings
        ]

    def _say(self, *findings: Finding) -> None:
        self._found.findings += findings

    # Entries

    def _look_at_entries(self) -> None:
        strange: dict[str, int] = {}
        for place in self._raw.places():
            for stored in self._raw.stored(place):
                self._count(place, stored, self._counted)
                self._foreign |= stored.foreign
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
            if (entry.layer, entry.path) in self._leaving:
                mend = EntryRepair(stored, None, keep=True)
            text = f"field {stored.name!r} of {stored.place}: {stored.misplaced}"
            self._say(Finding("misplaced-entry", text, entry.path, entry.layer, stored.place, mend))
            return
        try:
            check_entry(entry, *ref)
        except InvalidEntry as fault:
            self._invalid(stored, str(fault))
            if not is_legal(entry.path):
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
        if not is_legal(entry.path):
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
                if said.isdecimal() and int(said) > right:
                    self._lost.add(dir)
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
        foreign = self._foreign or any(each.foreign for each in stored)
        return plans.plan_findings(stored, layer_of, rules, now_s, max_lease_s, unreadable, foreign)

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
