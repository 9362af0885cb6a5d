"""Conditions: a small algebra of what rows are asked for; `comparisons` are its leaves.

SQL's logic has three values, and a row is kept by TRUE alone. Each condition therefore says for
which files it may be TRUE; NOT is no operation of its own but pushed down to the comparisons, where
it is exact: NOT (x < 5) is TRUE for just those rows for which x >= 5 is.

Everything here is immutable and pure. All times are int nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from gigapi_metadata.model import TIME_COLUMNS, IndexEntry
from gigapi_metadata.pruning.statistics import Statistics
from gigapi_metadata.timerange import Window

EVERYTHING = Window()
NOTHING = Window(1, 0)


class Condition:
    """What rows are asked for. Immutable; compared by value."""

    def may_match(self, entry: IndexEntry, time_column: str | None = None) -> bool:
        """Whether a row of the entry's file may match. False only if its statistics prove that none
        does.

        `time_column` is the column that `entry.min_time` and `entry.max_time` are of. When None,
        they are taken for those of `__timestamp`, GigAPI's own, and of a column whose statistics
        agree with them.
        """
        return self.refuted(Statistics(entry, time_column)) is None

    def why_not(self, entry: IndexEntry, time_column: str | None = None) -> str | None:
        """Why no row of the entry's file can match, for people; None if one may."""
        return self.reason_against(Statistics(entry, time_column))

    def reason_against(self, statistics: Statistics) -> str | None:
        """The same, of statistics."""
        refuted = self.refuted(statistics)
        return None if refuted is None else refuted.reason(statistics)

    def window(self, time_columns: str | Sequence[str] = TIME_COLUMNS) -> Window:
        """The bounds in nanoseconds that every matching row's time lies in, inclusive.

        The time column is the first of `time_columns` that the condition bounds. The window is
        unbounded if it bounds none, and empty (`after > before`) if it can't be TRUE.
        """
        for column in (time_columns,) if isinstance(time_columns, str) else time_columns:
            found = self.window_of(column.lower())
            if found != EVERYTHING:
                return found
        return EVERYTHING

    def negated(self) -> Condition:
        """The condition that is TRUE where this one is FALSE, and NULL where it is NULL."""
        raise NotImplementedError

    @property
    def columns(self) -> frozenset[str]:
        """The columns that pruning looks at."""
        return frozenset()

    def reason(self, statistics: Statistics) -> str:
        """Why a condition that is refuted is so."""
        return f"{self} is never true"

    def refuted(self, statistics: Statistics) -> Condition | None:
        """The part of the condition that can't be TRUE for any row, which makes all of it so."""
        raise NotImplementedError

    def window_of(self, column: str) -> Window:
        """The window of one column, which is in lower case."""
        return EVERYTHING

    def __and__(self, other: Condition) -> Condition:
        return And((self, other))

    def __or__(self, other: Condition) -> Condition:
        return Or((self, other))

    def __invert__(self) -> Condition:
        return Not(self)


@dataclass(frozen=True)
class And(Condition):
    """All of them. Without any, TRUE."""

    parts: tuple[Condition, ...]

    def negated(self) -> Condition:
        return Or(tuple(part.negated() for part in self.parts))

    @property
    def columns(self) -> frozenset[str]:
        return frozenset().union(*(part.columns for part in self.parts))

    def refuted(self, statistics: Statistics) -> Condition | None:
        for part in self.parts:
            refuted = part.refuted(statistics)
            if refuted is not None:
                return refuted
        return None

    def window_of(self, column: str) -> Window:
        found = EVERYTHING
        for part in self.parts:
            window = part.window_of(column)
            found = Window(max(found.after, window.after), min(found.before, window.before))
        return found if found.after <= found.before else NOTHING

    def __str__(self) -> str:
        return " and ".join(map(_bracketed, self.parts)) or "true"


@dataclass(frozen=True)
class Or(Condition):
    """Any of them. Without any, FALSE."""

    parts: tuple[Condition, ...]

    def negated(self) -> Condition:
        return And(tuple(part.negated() for part in self.parts))

    @property
    def columns(self) -> frozenset[str]:
        return frozenset().union(*(part.columns for part in self.parts))

    def reason(self, statistics: Statistics) -> str:
        reasons = (part.reason_against(statistics) for part in self.parts)
        return "; ".join(filter(None, reasons)) or "false is never true"

    def refuted(self, statistics: Statistics) -> Condition | None:
        for part in self.parts:
            if part.refuted(statistics) is None:
                return None
        return self

    def window_of(self, column: str) -> Window:
        found = NOTHING
        for part in self.parts:
            window = part.window_of(column)
            if window.after <= window.before:
                found = (
                    window
                    if found is NOTHING
                    else Window(min(found.after, window.after), max(found.before, window.before))
                )
        return found

    def __str__(self) -> str:
        return " or ".join(map(_bracketed, self.parts)) or "false"


@dataclass(frozen=True)
class Not(Condition):
    """NOT, kept as it was written; what it means is the part's own affair."""

    part: Condition

    @cached_property
    def _meaning(self) -> Condition:
        return self.part.negated()

    def negated(self) -> Condition:
        return self.part

    @property
    def columns(self) -> frozenset[str]:
        return self.part.columns

    def refuted(self, statistics: Statistics) -> Condition | None:
        return self._meaning.refuted(statistics)

    def window_of(self, column: str) -> Window:
        return self._meaning.window_of(column)

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


@dataclass(frozen=True)
class IsTrue(Condition):
    """`part IS TRUE`, which is FALSE where the part is NULL. `x IS NOT DISTINCT FROM 5` is
    IsTrue(x = 5)."""

    part: Condition

    def negated(self) -> Condition:
        return Unknown(f"{self._shown} is not true")  # as it is for nulls, which may be anywhere

    @property
    def columns(self) -> frozenset[str]:
        return self.part.columns

    def refuted(self, statistics: Statistics) -> Condition | None:
        return self.part.refuted(statistics)

    def window_of(self, column: str) -> Window:
        return self.part.window_of(column)

    @property
    def _shown(self) -> str:
        return f"({self.part})"

    def __str__(self) -> str:
        return f"{self._shown} is true"


@dataclass(frozen=True)
class Constant(Condition):
    """TRUE, FALSE or NULL (None)."""

    truth: bool | None

    def negated(self) -> Condition:
        return self if self.truth is None else Constant(not self.truth)

    def refuted(self, statistics: Statistics) -> Condition | None:
        return None if self.truth else self

    def window_of(self, column: str) -> Window:
        return EVERYTHING if self.truth else NOTHING

    def __str__(self) -> str:
        return "null" if self.truth is None else str(self.truth).lower()


@dataclass(frozen=True)
class Unknown(Condition):
    """Whatever is not understood: it may always be TRUE."""

    text: str = "?"

    def negated(self) -> Condition:
        return self

    def refuted(self, statistics: Statistics) -> Condition | None:
        return None

    def __str__(self) -> str:
        return self.text


def all_of(parts: Iterable[Condition]) -> Condition:
    """The conjunction of `parts`."""
    found = tuple(parts)
    return found[0] if len(found) == 1 else And(found)


def _bracketed(part: Condition) -> str:
    return f"({part})" if isinstance(part, And | Or) and len(part.parts) > 1 else str(part)
