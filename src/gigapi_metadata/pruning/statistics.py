"""The statistics of one entry, looked up by the names of columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from gigapi_metadata.model import TIME_COLUMNS, IndexEntry
from gigapi_metadata.pruning.instants import DAY_NS
from gigapi_metadata.pruning.rounding import rounds_to, slack_of

_NOTHING: Mapping[str, Any] = {}


class Statistics:
    """What an entry says of its columns. Names are in lower case.

    `time_column` is that of the entry's `min_time` and `max_time`, as in `Condition.may_match`.
    """

    def __init__(self, entry: IndexEntry, time_column: str | None = None) -> None:
        self.entry = entry
        self._time_column = time_column
        self._low = low = entry.min_data or _NOTHING
        self._high = high = entry.max_data or _NOTHING
        self._names = _names(tuple(low), tuple(high))

    def of(self, column: str) -> tuple[Any, Any]:
        """The smallest and the largest value of a column; None where unknown."""
        name = self._names.get(column)
        return (None, None) if name is None else (self._low.get(name), self._high.get(name))

    @cached_property
    def slack(self) -> Any:
        """By how much a number may differ from the true one, see `slack_of`."""
        return slack_of([*self._low.values(), *self._high.values()])

    def is_time_column(self, column: str) -> bool:
        """Whether the entry's `min_time` and `max_time` are surely those of `column`."""
        if self._time_column is not None:
            return column == self._time_column.lower()
        if column not in TIME_COLUMNS:
            return False
        if self.of(column) != (None, None):
            return self.agrees(column)
        return column == TIME_COLUMNS[0] and not any(
            self.of(other) != (None, None) for other in TIME_COLUMNS[1:]
        )

    def agrees(self, column: str) -> bool:
        """Whether what is said of one of TIME_COLUMNS is what the entry's times would give."""
        for other in TIME_COLUMNS[: TIME_COLUMNS.index(column)]:
            if self.of(other) != (None, None):
                return False
        low, high = self.of(column)
        return rounds_to(self.entry.min_time, low) and (
            rounds_to(self.entry.max_time, high)
            or rounds_to(self.entry.max_time - DAY_NS + 1, high)  # a DATE, which is its whole day
        )


def is_time_column(entry: IndexEntry, column: str, time_column: str | None = None) -> bool:
    """Whether the entry's `min_time` and `max_time` are surely those of `column`, which is in lower
    case. They are of `time_column`, if that is known."""
    return Statistics(entry, time_column).is_time_column(column)


@lru_cache(maxsize=4096)
def _names(low: tuple[str, ...], high: tuple[str, ...]) -> dict[str, str | None]:
    """Names in lower case -> as they are written: DuckDB's names have no case. None where it is not
    sure which one is meant."""
    found: dict[str, str | None] = {}
    for name in dict.fromkeys((*low, *high)):
        found[name.lower()] = None if name.lower() in found else name
    return found
