"""Whether two catalogs hold the same entries, to the last digit and the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gigapi_metadata.copying.reading import days_of, entries_of
from gigapi_metadata.index.sync import Index
from gigapi_metadata.model import IndexEntry

# Python has 1 == 1.0 == True and 0.0 == -0.0; their texts differ.
_exact = msgspec.json.Encoder(order="deterministic").encode

_FIELDS = IndexEntry.__struct_fields__


class Difference(msgspec.Struct, frozen=True):
    """Where two catalogs differ: `here` and `there` hold the fields that do, of a path in both."""

    database: str
    table: str
    path: str
    kind: str
    """ "missing" there, "extra" there, or "different"."""
    here: dict[str, Any] = {}
    there: dict[str, Any] = {}


def same(one: IndexEntry, other: IndexEntry) -> bool:
    """Whether two entries are the same; the order of columns does not count."""
    return one == other and _exact(one) == _exact(other)


def differences(
    source: Index[Any],
    target: Index[Any],
    counted: Callable[[int], None] = lambda entries: None,
) -> Iterator[Difference]:
    """What `target` has otherwise than `source`, day by day and path by path. `counted` is told
    how many paths there were, after each day."""
    here_days, there_days = days_of(source), days_of(target)
    for day in sorted({*here_days, *there_days}):
        here = {each.path: each for each in entries_of(source, day)} if day in here_days else {}
        there = {each.path: each for each in entries_of(target, day)} if day in there_days else {}
        for path in sorted({*here, *there}):
            found = _difference(source, path, here.get(path), there.get(path))
            if found is not None:
                yield found
        counted(len({*here, *there}))


def _difference(
    index: Index[Any], path: str, here: IndexEntry | None, there: IndexEntry | None
) -> Difference | None:
    of = (index.database, index.table, path)
    if there is None:
        return Difference(*of, "missing")
    if here is None:
        return Difference(*of, "extra")
    if same(here, there):
        return None
    names = [
        name for name in _FIELDS if _exact(getattr(here, name)) != _exact(getattr(there, name))
    ]
    return Difference(
        *of,
        "different",
        {name: getattr(here, name) for name in names},
        {name: getattr(there, name) for name in names},
    )
