"""What must hold of a table after any fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from gigapi_metadata import IndexEntry
from gigapi_metadata.checking import CheckOptions, Footers, check_table
from gigapi_metadata.planning import UNFINISHED
from gigapi_metadata.storage import Storages

LEFT_OVER = {"held", "dead-plan", "dead-file-in-plan"}
"""Notes that may be: somebody died with a plan; a file was removed that waits in one."""


def check_invariants(
    index: Any, note: str = "", *, storages: Storages | None = None
) -> list[IndexEntry]:
    """`gigapi-metadata check` finds no fault, and no file is doubled, left out of its plan, or to
    be dropped twice. With `storages` their files are looked at, however young. `index` is a
    blocking one, which nobody else writes to. The entries."""
    options = CheckOptions(storage=storages is not None, deep=True, min_age_s=0)
    footers = Footers(1)
    try:
        found = check_table(index, storages or Storages((), None), footers, options)
    finally:
        footers.close()
    assert not found.faults, f"{note}: {found.faults}"
    notes = [each for each in found.notes if each.kind not in LEFT_OVER]
    assert not notes, f"{note}: {notes}"
    entries: list[IndexEntry] = index.get_all()
    there = [each.path for each in entries]
    living = set(there)
    assert len(living) == len(there), note
    assert index.query(after=-(2**63)) == entries, f"{note}: the time index differs from a scan"
    assert index.paths() == sorted({path.rpartition("/")[0] for path in there}), note
    plans = index.plans()
    work = [plan for plan in plans if plan.kind != "drop"]
    planned = Counter(path for plan in work for path in plan.paths if path in living)
    assert not [path for path, times in planned.items() if times > 1], f"{note}: planned twice"
    drops = Counter(
        path
        for plan in plans
        if plan.kind == "drop" and plan.writer_id != UNFINISHED
        for path in plan.paths
    )
    assert not [path for path, times in drops.items() if times > 1], f"{note}: dropped twice"
    assert not set(drops) & living, f"{note}: a living file is to be dropped"
    return entries


def paths_of(entries: Iterable[IndexEntry]) -> list[str]:
    return sorted(each.path for each in entries)
