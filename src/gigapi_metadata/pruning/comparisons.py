"""Conditions on one column: comparisons, IN, LIKE, IS NULL. What statistics prove is in `bounds`.

Everything here is immutable and pure. All times are int nanoseconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from gigapi_metadata.model import TIME_COLUMNS
from gigapi_metadata.pruning.bounds import Bounds, Operator, bounds_of, is_spelled, times_of
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


class Span(NamedTuple):
    """A constant beside statistics: their types that it compares with as it stands, its bounds as
    it stands, and bounds of all that it may stand for, however statistics were rounded."""

    kinds: tuple[type, ...]
    first: Any
    last: Any
    low: Any
    high: Any


def span_of(value: Value) -> Span:
    """The span of a constant; without kinds if it takes a closer look."""
    if value.text is not None:
        return Span((str,), value.text, value.text, value.text, value.text)
    if value.interval is None or value.interval_32 is None or value.dated:
        return Span((), None, None, None, None)
    low, high = (float_of(side) for side in value.interval_32)
    slack = max(abs(low), abs(high)) * 2 * MOST_ROUNDED
    return Span((int, float), *value.interval, low - slack, high + slack)


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
        kinds, first, last, below, above = self._span
        if type(high) not in kinds or type(low) not in kinds or low > high:
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
        if never and kinds[0] is str:
            return None  # it may be a number or a time, or cut
        return True if may else False if never else None

    @cached_property
    def _span(self) -> Span:
        return span_of(self.value)

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
    """`column IN (values)`. A NULL among them is left out: it can't make it TRUE. `matches` is
    False for NOT IN, which has no NULL."""

    values: tuple[Value, ...]
    with_null: bool = False
    matches: bool = True

    def negated(self) -> Condition:
        other = replace(self, with_null=False, matches=not self.matches)
        return And((other, Constant(None))) if self.with_null else other

    def _possible(self, bounds: Bounds) -> bool:
        if self.matches:
            return any(bounds.may_be("=", value) for value in self._near(bounds.low, bounds.high))
        if bounds.low != bounds.high:
            return True
        return all(bounds.may_be("!=", value) for value in self.values)

    def _near(self, low: Any, high: Any) -> Sequence[Value]:
        """The values that may lie between, and others: of many, a few."""
        kinds, firsts, lasts, values = self._order
        if type(low) not in kinds or type(high) not in kinds or is_spelled(low):
            return self.values
        # One more: a text of which the upper bound is the beginning.
        return values[bisect_left(lasts, low) : bisect_right(firsts, high) + 1]

    @cached_property
    def _order(self) -> tuple[tuple[type, ...], list[Any], list[Any], list[Value]]:
        """The values in order, after what they surely are not below and, so far, not above; and
        the types of statistics that compare with them."""
        found = [(span_of(value), value) for value in self.values]
        kinds = found[0][0].kinds if found else ()
        if not kinds or any(span.kinds != kinds or span.low != span.low for span, _ in found):
            return (), [], [], []  # of several kinds, or infinite
        found.sort(key=lambda pair: pair[0].low)
        lasts = list(accumulate((span.high for span, _ in found), max))
        return kinds, [span.low for span, _ in found], lasts, [value for _, value in found]

    def window_of(self, column: str) -> Window:
        if column != self._key or not self.matches:
            return EVERYTHING
        some = tuple(Comparison(self.column, "=", value) for value in self.values)
        return Or(some).window_of(column)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.values[:5])) + (", …" if len(self.values) > 5 else "")
        return f"{self.column} {'in' if self.matches else 'not in'} ({shown})"


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
