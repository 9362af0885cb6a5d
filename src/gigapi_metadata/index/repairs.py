"""The raw side of a table: what stores/repairing.py promises, driven. For `checking`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gigapi_metadata.errors import StoreError
from gigapi_metadata.index.sync import Index
from gigapi_metadata.planning import Rules
from gigapi_metadata.stores.base import TableRef, run
from gigapi_metadata.stores.repairing import (
    EntryRepair,
    PlanRepair,
    Repairable,
    StoredEntry,
    StoredPlan,
    StoreFault,
)


class TableRepairs:
    """One table as it is stored. See `Repairable` for what each call promises.

    Raises:
        StoreError: the store of `index` can't be looked into in this way.
    """

    def __init__(self, index: Index[Any]) -> None:
        store = index._verbs.store
        if not isinstance(store, Repairable):
            raise StoreError(f"{index!r} is of a store that can't be checked")
        self._store: Repairable = store
        self._perform = index.connection.perform
        self.ref: TableRef = index._verbs.ref
        self.rules: Rules = index._verbs.rules

    def now_s(self) -> int:
        """See `Repairable.now_s`."""
        return run(self._store.now_s(), self._perform)

    def places(self) -> list[str]:
        """See `Repairable.places`."""
        return run(self._store.places(self.ref), self._perform)

    def place_of(self, path: str, layer: str) -> str:
        """See `Repairable.place_of`."""
        return self._store.place_of(self.ref, path, layer)

    def stored(self, place: str) -> list[StoredEntry]:
        """See `Repairable.stored`."""
        return run(self._store.stored(self.ref, place), self._perform)

    def stored_plans(self) -> list[StoredPlan]:
        """See `Repairable.stored_plans`."""
        return run(self._store.stored_plans(self.ref), self._perform)

    def counts(self) -> dict[str, str] | None:
        """See `Repairable.counts`."""
        return run(self._store.counts(self.ref), self._perform)

    def set_aside(self) -> list[str]:
        """See `Repairable.set_aside`."""
        return run(self._store.set_aside(self.ref), self._perform)

    def index_faults(self) -> list[str]:
        """See `Repairable.index_faults`."""
        return run(self._store.index_faults(self.ref), self._perform)

    def store_faults(self) -> list[StoreFault]:
        """See `Repairable.store_faults`."""
        return run(self._store.store_faults(self.ref), self._perform)

    def mend_faults(self, faults: Sequence[StoreFault]) -> list[bool]:
        """See `Repairable.mend_faults`."""
        return run(self._store.mend_faults(self.ref, faults), self._perform)

    def mend_entries(self, repairs: Sequence[EntryRepair]) -> list[bool]:
        """See `Repairable.mend_entries`."""
        return run(self._store.mend_entries(self.ref, repairs), self._perform)

    def mend_plans(self, repairs: Sequence[PlanRepair]) -> list[bool]:
        """See `Repairable.mend_plans`."""
        return run(self._store.mend_plans(self.ref, repairs), self._perform)

    def recount(self, places: Sequence[str]) -> None:
        """See `Repairable.recount`."""
        run(self._store.recount(self.ref, places), self._perform)

    def reindex(self) -> None:
        """See `Repairable.reindex`."""
        run(self._store.reindex(self.ref), self._perform)
