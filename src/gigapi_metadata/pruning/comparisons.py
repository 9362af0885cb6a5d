"""Conditions on one column: comparisons, IN, LIKE, IS NULL. What statistics prove is in `bounds`.

Everything here is immutable and pure. All times are int nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gigapi_metadata.model import TIME_COLUMNS
from gigapi_metadata.pruning.bounds import Bounds, Operator, bounds_of, times_of
from gigapi_metadata.pruning.conditions import EVERYTHING, NOTHING, And, Condition, Constant, Or
from gigapi_metadata.pruning.rounding import MOST_ROUNDED
from gigapi_metadata.pruning.statistics import Statistics
from gigapi_metadata.pruning.steps import Step
from gigapi_metadata.pruning.values import Value, float_of
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, Window

_NEGATED: dict[Operator, Operator] = {
    "=": "!=",
    "!=": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}
_LAST = "\U0010ffff" * 65  # above all text among statistics


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

    def reason(self, statistics: Statistics) -> str:
        bounds = bounds_of(statistics, self._key)
        shown = "other values" if bounds is None else bounds.shown(self._about_times)
        return f"{self}: {self.column} is {shown}"

    @property
    def _about_times(self) -> bool:
        return self._key in TIME_COLUMNS

    def refuted(self, statistics: Statistics) -> Condition | None:
        bounds = bounds_of(statistics, self._key)
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

    def refuted(self, statistics: Statistics) -> Condition | None:
        plain = None if self.steps else self._plainly(*statistics.of(self._key))
        if plain is None:
            return super().refuted(statistics)
        return None if plain else self

    def _plainly(self, low: Any, high: Any) -> bool | None:
        """Whether it may be TRUE, as far as that is plain to see however statistics are read; None
        if it takes a closer look, which few files do."""
        kind, (kinds, first, last, below, above) = type(high), self._span
        if kind not in kinds or type(low) not in kinds or low > high:
            return None
        match self.operator:
            case "=":
                may, never = low <= first and high >= last, high < below or low > above
            case ">" | ">=":
                may, never = high > last, high < below
            case "<" | "<=":
                may, never = low < first, low > above
            case _:
                may, never = low != high, False
        return True if may else False if never else None

    @cached_property
    def _span(self) -> tuple[tuple[type, ...], Any, Any, Any, Any]:
        """The types of statistics that the constant compares with as it stands, its bounds, and
        what is surely below and above whatever it may stand for."""
        value = self.value
        if value.text is not None:
            return (str,), value.text, value.text, "", _LAST
        if value.interval is None or value.interval_32 is None or value.dated:
            return (), None, None, None, None
        below, above = (float_of(side) for side in value.interval_32)
        slack = max(abs(below), abs(above)) * 2 * MOST_ROUNDED
        return (int, float), *value.interval, below - slack, above + slack

    def _possible(self, bounds: Bounds) -> bool:
        return bounds.may_be(self.operator, self.value, self.steps)

    def window_of(self, column: str) -> Window:
        if column != self._key or self.operator == "!=":
            return EVERYTHING
        found = times_of(self._key, self.value, self.steps)
        if found is None:
            return EVERYTHING
        first, last = found
        exact = not self.steps and first == last
        after = first + (exact and self.operator == ">")
        before = last - (exact and self.operator == "<")
        if self.operator in ("<", "<="):
            after = INT64_MIN
        elif self.operator in (">", ">="):
            before = INT64_MAX
        window = Window(max(after, INT64_MIN), min(before, INT64_MAX))
        return window if window.after <= window.before else NOTHING

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

    def window_of(self, column: str) -> Window:
        return self._any.window_of(column) if column == self._key else EVERYTHING

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
