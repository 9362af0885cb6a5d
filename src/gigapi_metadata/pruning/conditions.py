"""Conditions: a small algebra over a table's columns, and what statistics prove about them.

SQL's logic has three values, and a row is kept by TRUE alone. Each condition therefore says for
which files it may be TRUE; NOT is no operation of its own but pushed down to the comparisons, where
it is exact: NOT (x < 5) is TRUE for just those rows for which x >= 5 is.

Everything here is immutable and pure. All times are int nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gigapi_metadata.model import TIME_COLUMNS, IndexEntry
from gigapi_metadata.pruning.bounds import Bounds, Operator, bounds_of, times_of
from gigapi_metadata.pruning.steps import Step
from gigapi_metadata.pruning.values import Value
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, Window

_NEGATED: dict[Operator, Operator] = {
    "=": "!=",
    "!=": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}
_EVERYTHING = Window()
_NOTHING = Window(1, 0)


class Condition:
    """What rows are asked for. Immutable; compared by value."""

    def may_match(self, entry: IndexEntry, time_column: str | None = None) -> bool:
        """Whether a row of the entry's file may match. False only if its statistics prove that none
        does.

        `time_column` is the column that `entry.min_time` and `entry.max_time` are of. When None,
        they are taken for those of `__timestamp`, GigAPI's own, and of a column whose statistics
        agree with them.
        """
        return self._refuted(entry, time_column) is None

    def why_not(self, entry: IndexEntry, time_column: str | None = None) -> str | None:
        """Why no row of the entry's file can match, for people; None if one may."""
        refuted = self._refuted(entry, time_column)
        return None if refuted is None else refuted.reason(entry, time_column)

    def window(self, time_columns: str | Sequence[str] = TIME_COLUMNS) -> Window:
        """The bounds in nanoseconds that every matching row's time lies in, inclusive.

        The time column is the first of `time_columns` that the condition bounds. The window is
        unbounded if it bounds none, and empty (`after > before`) if it can't be TRUE.
        """
        for column in (time_columns,) if isinstance(time_columns, str) else time_columns:
            found = self._window(column.lower())
            if found != _EVERYTHING:
                return found
        return _EVERYTHING

    def negated(self) -> Condition:
        """The condition that is TRUE where this one is FALSE, and NULL where it is NULL."""
        raise NotImplementedError

    @property
    def columns(self) -> frozenset[str]:
        """The columns that pruning looks at."""
        return frozenset()

    def reason(self, entry: IndexEntry, time_column: str | None) -> str:
        """Why a condition that is refuted is so."""
        return f"{self} is never true"

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        """The part of the condition that can't be TRUE for any row, which makes all of it so."""
        raise NotImplementedError

    def _window(self, column: str) -> Window:
        return _EVERYTHING

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

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        for part in self.parts:
            refuted = part._refuted(entry, time_column)
            if refuted is not None:
                return refuted
        return None

    def _window(self, column: str) -> Window:
        found = _EVERYTHING
        for part in self.parts:
            window = part._window(column)
            found = Window(max(found.after, window.after), min(found.before, window.before))
        return found if found.after <= found.before else _NOTHING

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

    def reason(self, entry: IndexEntry, time_column: str | None) -> str:
        reasons = (part.why_not(entry, time_column) for part in self.parts)
        return "; ".join(filter(None, reasons)) or "false is never true"

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        for part in self.parts:
            if part._refuted(entry, time_column) is None:
                return None
        return self

    def _window(self, column: str) -> Window:
        found = _NOTHING
        for part in self.parts:
            window = part._window(column)
            if window.after <= window.before:
                found = (
                    window
                    if found is _NOTHING
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

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        return self._meaning._refuted(entry, time_column)

    def _window(self, column: str) -> Window:
        return self._meaning._window(column)

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

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        return self.part._refuted(entry, time_column)

    def _window(self, column: str) -> Window:
        return self.part._window(column)

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

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        return None if self.truth else self

    def _window(self, column: str) -> Window:
        return _EVERYTHING if self.truth else _NOTHING

    def __str__(self) -> str:
        return "null" if self.truth is None else str(self.truth).lower()


@dataclass(frozen=True)
class Unknown(Condition):
    """Whatever is not understood: it may always be TRUE."""

    text: str = "?"

    def negated(self) -> Condition:
        return self

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        return None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _OfColumn(Condition):
    """A condition on one column, whose name has no case (as in DuckDB)."""

    column: str

    @property
    def columns(self) -> frozenset[str]:
        return frozenset((self.column,))

    @cached_property
    def _key(self) -> str:
        return self.column.lower()

    def reason(self, entry: IndexEntry, time_column: str | None) -> str:
        bounds = bounds_of(entry, self._key, time_column)
        shown = "other values" if bounds is None else bounds.shown(self._about_times)
        return f"{self}: {self.column} is {shown}"

    @property
    def _about_times(self) -> bool:
        return self._key in TIME_COLUMNS

    def _refuted(self, entry: IndexEntry, time_column: str | None) -> Condition | None:
        bounds = bounds_of(entry, self._key, time_column)
        return None if bounds is None or self._possible(bounds) else self

    def _possible(self, bounds: Bounds) -> bool:
        """Whether it may be TRUE for a value within `bounds`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Comparison(_OfColumn):
    """`column operator value`, or what `steps` make of the column, which is `shown` so."""

    operator: Operator
    value: Value
    steps: tuple[Step, ...] = ()
    shown: str = ""

    def negated(self) -> Condition:
        return replace(self, operator=_NEGATED[self.operator])

    def _possible(self, bounds: Bounds) -> bool:
        return bounds.may_be(self.operator, self.value, self.steps)

    def _window(self, column: str) -> Window:
        if column != self._key or self.operator == "!=":
            return _EVERYTHING
        found = times_of(self._key, self.value, self.steps)
        if found is None:
            return _EVERYTHING
        first, last = found
        exact = not self.steps and first == last
        after = first + (exact and self.operator == ">")
        before = last - (exact and self.operator == "<")
        if self.operator in ("<", "<="):
            after = INT64_MIN
        elif self.operator in (">", ">="):
            before = INT64_MAX
        window = Window(max(after, INT64_MIN), min(before, INT64_MAX))
        return window if window.after <= window.before else _NOTHING

    @property
    def _about_times(self) -> bool:
        return self.value.times is not None or self._key in TIME_COLUMNS

    def __str__(self) -> str:
        return f"{self.shown or self.column} {self.operator} {self.value}"


@dataclass(frozen=True)
class In(_OfColumn):
    """`column IN (values)`. A NULL among them is left out: it can't make it TRUE."""

    values: tuple[Value, ...]
    with_null: bool = False

    @cached_property
    def _any(self) -> Or:
        return Or(tuple(Comparison(self.column, "=", value) for value in self.values))

    def negated(self) -> Condition:
        if self.with_null:
            return And((self._any.negated(), Constant(None)))
        return self._any.negated()

    def _possible(self, bounds: Bounds) -> bool:
        return any(bounds.may_be("=", value) for value in self.values)

    def _window(self, column: str) -> Window:
        return self._any._window(column) if column == self._key else _EVERYTHING

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.values[:5])) + (", …" if len(self.values) > 5 else "")
        return f"{self.column} in ({shown})"


@dataclass(frozen=True)
class IsNull(_OfColumn):
    """`column IS NULL`, or IS NOT NULL. Statistics don't count nulls, so it may always be TRUE."""

    is_null: bool = True

    def negated(self) -> Condition:
        return IsNull(self.column, not self.is_null)

    def _possible(self, bounds: Bounds) -> bool:
        return True

    def __str__(self) -> str:
        return f"{self.column} is {'' if self.is_null else 'not '}null"


@dataclass(frozen=True)
class Like(_OfColumn):
    """A text that begins with `prefix`. When `whole`, that is all that is asked for; otherwise more
    is (`LIKE 'a%b'`), and it can't be negated. `matches` is False for NOT LIKE."""

    prefix: str
    whole: bool = True
    matches: bool = True

    def negated(self) -> Condition:
        return Like(self.column, self.prefix, self.whole, not self.matches)

    def _possible(self, bounds: Bounds) -> bool:
        if self.matches:
            return bounds.may_begin_with(self.prefix)
        return not (self.whole and bounds.all_begin_with(self.prefix))

    def __str__(self) -> str:
        rest = "%" if self.whole else "%…"
        return f"{self.column} {'' if self.matches else 'not '}like '{self.prefix}{rest}'"


def between(column: str, low: Value, high: Value) -> Condition:
    """`column BETWEEN low AND high`."""
    return And((Comparison(column, ">=", low), Comparison(column, "<=", high)))


def all_of(parts: Iterable[Condition]) -> Condition:
    """The conjunction of `parts`."""
    found = tuple(parts)
    return found[0] if len(found) == 1 else And(found)


def _bracketed(part: Condition) -> str:
    return f"({part})" if isinstance(part, And | Or) and len(part.parts) > 1 else str(part)
