"""An optional ability of a store: to show what it holds as it is stored, damage included, and to
mend it piece by piece.

Reading never fails over one piece that can't be understood: that comes with its `fault`. Every
repair names what it was decided upon, byte for byte. A piece that has changed since - a service
writes, a worker takes a plan - is left alone, so repairs are safe beside everybody else, may be
killed at any point, and have no effect when they are made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from gigapi_metadata.model import IndexEntry, QueuedPlan
from gigapi_metadata.stores.base import Steps, TableRef


class StoredEntry(msgspec.Struct, frozen=True):
    """An entry as it is stored: in `place` (a key, a file, a table) under `name`.

    `entry` is None and `fault` says why when it can't be read; `writer_id` is then the one that
    can still be told, if any. `name` is "" when the whole of `place` can't be read. `misplaced`
    says how the entry disagrees with where it was found. `foreign`: it is spelled as GigAPI does,
    so GigAPI works on this table, or has.
    """

    place: str
    name: str
    raw: bytes
    entry: IndexEntry | None
    fault: str = ""
    misplaced: str = ""
    foreign: bool = False
    writer_id: str = ""


class StoredPlan(msgspec.Struct, frozen=True):
    """A plan as it is stored.

    `due_s` is the second from which it may be handed out; None when it says none, or none that
    means anything; `undated` if it says none, which is the same as due. `leased`: somebody has it,
    or had it when its lease ran out. `held_back`: it was given back, to be had again at `due_s`.
    `foreign` as in StoredEntry.
    """

    place: str
    raw: bytes
    plan: QueuedPlan | None
    leased: bool
    due_s: int | None = None
    held_back: bool = False
    fault: str = ""
    undated: bool = False
    foreign: bool = False


class EntryRepair(msgspec.Struct, frozen=True):
    """Have `new` in the place of `old`, or nothing. No deletion of a file is scheduled.

    `keep`: what was stored is put aside first, where `set_aside` finds it.
    """

    old: StoredEntry
    new: IndexEntry | None
    keep: bool = False


class PlanRepair(msgspec.Struct, frozen=True):
    """Have `new` in the place of `old` in its queue, or nothing: if, at that moment, every path of
    `living` is a file of the plan's layer, and no path of `dead` is one. `keep` as in EntryRepair.
    """

    old: StoredPlan
    new: QueuedPlan | None
    living: Sequence[str] = ()
    dead: Sequence[str] = ()
    keep: bool = False


class StoreFault(msgspec.Struct, frozen=True):
    """Something that is wrong with what a store keeps for itself, and that it can make anew from
    the rest, or do without."""

    kind: Literal["wrong-key", "wrong-totals"]
    place: str
    text: str


@runtime_checkable
class Repairable(Protocol):
    """What a store answers that can be checked and mended. All of the first part is read-only."""

    def now_s(self) -> Steps[int]:
        """The Unix second by which this store decides on leases."""
        ...

    def places(self, table: TableRef) -> Steps[list[str]]:
        """The parts that entries are kept in, sorted, to be read one after the other."""
        ...

    def place_of(self, table: TableRef, path: str, layer: str) -> str:
        """In which place the entry of `path` in `layer` stands, if it is there. Pure."""
        ...

    def stored(self, table: TableRef, place: str) -> Steps[list[StoredEntry]]:
        """The entries in one of `places`, at one moment."""
        ...

    def stored_plans(self, table: TableRef) -> Steps[list[StoredPlan]]:
        """Every plan, in its queue's order."""
        ...

    def counts(self, table: TableRef) -> Steps[dict[str, str] | None]:
        """How many files each dir is said to hold, as stored. None: this store counts none."""
        ...

    def set_aside(self, table: TableRef) -> Steps[list[str]]:
        """The names under which entries were put aside by repairs, sorted."""
        ...

    def index_faults(self, table: TableRef) -> Steps[list[str]]:
        """What is wrong with whatever the store finds entries by time with, unnoticed by queries;
        a sentence each."""
        ...

    def store_faults(self, table: TableRef) -> Steps[list[StoreFault]]:
        """What is wrong with the rest of what the store keeps of a table."""
        ...

    def mend_entries(self, table: TableRef, repairs: Sequence[EntryRepair]) -> Steps[list[bool]]:
        """Make repairs: of each, whether it was made. Atomic. Counts of the dirs are set right, and
        queries by time know of it."""
        ...

    def mend_plans(self, table: TableRef, repairs: Sequence[PlanRepair]) -> Steps[list[bool]]:
        """As `mend_entries`. A new version stays where the old one was in its queue, and waits."""
        ...

    def mend_faults(self, table: TableRef, faults: Sequence[StoreFault]) -> Steps[list[bool]]:
        """Mend what is still wrong of `faults`: of each, whether it was. Before all other
        repairs."""
        ...

    def recount(self, table: TableRef, places: Sequence[str]) -> Steps[None]:
        """Count the files of these places' dirs anew. Atomic for each place."""
        ...

    def reindex(self, table: TableRef) -> Steps[None]:
        """Make anew what entries are found by time with. Safe at any time."""
        ...
