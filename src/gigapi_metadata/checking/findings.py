"""What a check finds, as values. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from gigapi_metadata.model import IndexEntry
from gigapi_metadata.stores.repairing import EntryRepair, PlanRepair, StoreFault

Level = Literal["fault", "note"]


class Kind(NamedTuple):
    """A kind of finding: how grave it is, and what `--repair` does about it ("": nothing).

    A note says what is left over and harms nobody: whoever meets it passes over it."""

    level: Level
    remedy: str = ""


KINDS: dict[str, Kind] = {
    # An entry by itself
    "unreadable-entry": Kind(
        "fault", "put aside; made anew from the file's footer if there is one"
    ),
    "misplaced-entry": Kind(
        "fault", "put where it belongs; put aside if that place is taken, or its file was merged"
    ),
    "invalid-entry": Kind("fault", "read again from the file's footer"),
    "unknown-layer": Kind("fault"),
    "set-aside": Kind("note"),
    # The catalog against itself
    "wrong-count": Kind("fault", "counted anew"),
    "wrong-index": Kind("fault", "made anew"),
    "wrong-key": Kind("fault", "removed"),
    "wrong-totals": Kind("fault", "added up anew"),
    "unreadable-plan": Kind("fault", "put aside"),
    "dead-plan": Kind("note", "removed"),
    "dead-file-in-plan": Kind("note", "taken out of the plan"),
    "planned-twice": Kind("fault", "left in the first plan only"),
    "drop-of-living-file": Kind("fault", "removed"),
    "endless-lease": Kind("fault", "due now"),
    "undated-plan": Kind("note", "due now"),
    "no-due-time": Kind("fault", "due now"),
    "shared-plan-id": Kind("note", "given an id of its own"),
    "shared-target": Kind("fault", "given a target of its own"),
    "plan-in-unknown-layer": Kind("fault"),
    "held": Kind("note"),
    "not-planned": Kind("note"),
    # The catalog against storage
    "missing-file": Kind("fault", "its entry is removed, nothing is scheduled to be deleted"),
    "orphan": Kind("fault", "moved to quarantine; with --adopt registered"),
    "unregistered": Kind("fault", "registered anew from the footer"),
    "leftover": Kind("fault", "moved to quarantine"),
    "illegal-name": Kind("fault"),
    "wrong-size": Kind("fault", "read again from the footer"),
    "wrong-rows": Kind("fault", "read again from the footer"),
    "wrong-times": Kind("fault", "read again from the footer"),
    "unreadable-file": Kind("fault"),
    "no-files": Kind("fault"),
    "no-entries": Kind("fault"),
    "unreachable-layer": Kind("fault"),
    "quarantined": Kind("note", "deleted when it is old enough"),
}
"""Every kind. A "fault" makes a check fail, a "note" does not. Of a fault, a finding may say that
here it is harmless; it is a note then."""


class Quarantine(msgspec.Struct, frozen=True):
    """Take a file away that no entry names; or, with `adopt`, register it, if its rows are not
    known to be elsewhere."""

    layer: str
    path: str
    adopt: bool = False


class Reread(msgspec.Struct, frozen=True):
    """Have the entry of `path` say what the file's footer says, or be gone when `gone`. `known` is
    what it said when that was decided."""

    place: str
    known: IndexEntry
    gone: bool = False


class Recount(msgspec.Struct, frozen=True):
    """Count a place's dirs anew."""

    place: str


class Reindex(msgspec.Struct, frozen=True):
    """Make the index anew."""


class Expire(msgspec.Struct, frozen=True):
    """Delete a quarantined file."""

    layer: str
    path: str


Mend = EntryRepair | PlanRepair | StoreFault | Quarantine | Reread | Recount | Reindex | Expire


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be. `path` is the file's, `place` the key, file or table
    of the catalog it was found in; either may be "". `mend` is what a repair would do. `harmless`:
    what would be a fault elsewhere is passed over by everybody here."""

    kind: str
    detail: str
    path: str = ""
    layer: str = ""
    place: str = ""
    mend: Mend | None = None
    harmless: bool = False

    @property
    def level(self) -> Level:
        """How grave it is."""
        return "note" if self.harmless else KINDS[self.kind].level

    @property
    def remedy(self) -> str:
        """What a repair does, "" when there is nothing it could do."""
        if isinstance(self.mend, EntryRepair) and self.mend.keep and self.mend.new is None:
            return "put aside"
        return KINDS[self.kind].remedy if self.mend is not None else ""
