"""Writing entries and plans into a catalog: what is there already is left alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying.comparing import same
from gigapi_metadata.copying.reading import days_of, entries_of
from gigapi_metadata.errors import InvalidEntry
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry, QueuedPlan
from gigapi_metadata.names import day_of, dir_of
from gigapi_metadata.planning import check_queued
from gigapi_metadata.validation import check_entry

BATCH_SIZE = 5000
"""How many entries are written at a time."""

_PLANS_AT_ONCE = 1000
_DAYS_KEPT = 4  # of what is there; what is copied comes day by day


class TableReport(msgspec.Struct):
    """What was done with one table. What was not written was there already."""

    database: str
    table: str
    entries: int = 0
    written: int = 0
    plans: int = 0
    plans_written: int = 0


class Writer:
    """Writes to `catalog`; with `dry_run` only counts what it would write."""

    def __init__(
        self, catalog: Catalog, batch_size: int = BATCH_SIZE, *, dry_run: bool = False
    ) -> None:
        self._catalog = catalog
        self.batch_size = batch_size
        self.dry_run = dry_run
        self._tables: dict[tuple[str, str], _Target] = {}

    @property
    def reports(self) -> list[TableReport]:
        """What was done so far, table by table."""
        return [target.report for target in self._tables.values()]

    def add(self, database: str, table: str, entries: Sequence[IndexEntry]) -> None:
        """Add or replace entries, in order: each batch of them whole or not at all.

        Raises:
            InvalidEntry: one can't be kept. Batches before it have been written.
        """
        target = self._target(database, table)
        for start in range(0, len(entries), self.batch_size):
            target.add(entries[start : start + self.batch_size], self.dry_run)

    def add_plans(self, database: str, table: str, plans: Sequence[QueuedPlan]) -> None:
        """Queue plans that are not there, in order."""
        target = self._target(database, table)
        for start in range(0, len(plans), _PLANS_AT_ONCE):
            target.add_plans(plans[start : start + _PLANS_AT_ONCE], self.dry_run)

    def _target(self, database: str, table: str) -> _Target:
        found = self._tables.get((database, table))
        if found is None:
            found = _Target(self._catalog.table(database, table))
            self._tables[database, table] = found
        return found


class _Target:
    """One table, and what is known of what is there."""

    def __init__(self, index: Index[Any]) -> None:
        self.index = index
        self.report = TableReport(index.database, index.table)
        self._days = set(days_of(index))
        self._kept: OrderedDict[str, dict[str, IndexEntry]] = OrderedDict()
        self._plans: set[tuple[object, ...]] | None = None

    def add(self, entries: Sequence[IndexEntry], dry_run: bool) -> None:
        new = {entry.path: entry for entry in entries}
        for entry in new.values():
            try:
                check_entry(entry, self.index.database, self.index.table)
            except InvalidEntry as fault:
                name = f"{self.index.database}.{self.index.table}"
                raise InvalidEntry(f"{name}: {fault}; remove it there, or mend it") from fault
        changed = [entry for entry in new.values() if not self._is_there(entry)]
        if changed and not dry_run:
            self.index.import_entries(changed)
        for entry in changed:
            self._day(entry)[entry.path] = entry
        self.report.entries += len(entries)
        self.report.written += len(changed)

    def add_plans(self, plans: Sequence[QueuedPlan], dry_run: bool) -> None:
        for plan in plans:
            check_queued(plan)
        if dry_run:
            if self._plans is None:
                self._plans = {_key(plan) for plan in self.index.plans()}
            before = len(self._plans)
            self._plans.update(map(_key, plans))
            written = len(self._plans) - before
        else:
            written = self.index.import_plans(plans)
        self.report.plans += len(plans)
        self.report.plans_written += written

    def _is_there(self, entry: IndexEntry) -> bool:
        there = self._day(entry).get(entry.path)
        return there is not None and same(entry, there)

    def _day(self, entry: IndexEntry) -> dict[str, IndexEntry]:
        day = day_of(dir_of(entry.path))
        found = self._kept.get(day)
        if found is None:
            there = entries_of(self.index, day) if day in self._days else []
            found = self._kept[day] = {each.path: each for each in there}
            self._days.add(day)
            if len(self._kept) > _DAYS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(day)
        return found


def _key(plan: QueuedPlan) -> tuple[object, ...]:
    """What a plan is told from others by; a drop by what it says, for JSON folders keep no ids."""
    if plan.kind == "drop":
        return plan.kind, plan.layer, plan.writer_id, plan.paths[0], plan.due_s
    place = (plan.iteration, plan.dir) if plan.kind == "merge" else ()
    return (plan.kind, plan.layer, plan.writer_id, *place, plan.id)
