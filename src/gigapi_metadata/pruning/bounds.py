"""What an entry's statistics prove about one of its columns.

An entry says no more than a smallest and a largest value, as JSON has them. What is relied on:

- No value of the column lies outside them, nulls aside; NaN counts as the greatest number, so a
  column that may hold one has no upper bound. (`parquet_stats` sees to both.)
- Numbers may have been rounded since: Lua's cjson, which GigAPI passes entries through, keeps 14
  significant digits, and Go's JSON keeps those of a float64. Where that may be, a bound is taken
  to be as far out as the true one can lie.
- `min_time` and `max_time` are exact, and of the table's time column only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from gigapi_metadata.model import TIME_COLUMNS
from gigapi_metadata.pruning.instants import DAY_NS, iso
from gigapi_metadata.pruning.rounding import MOST_ROUNDED, is_plausible, is_single
from gigapi_metadata.pruning.statistics import Statistics
from gigapi_metadata.pruning.steps import Step
from gigapi_metadata.pruning.values import PLAUSIBLE_NS, Number, Value
from gigapi_metadata.timerange import INT64_MAX

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_MAYBE_CUT = 16
"""A text this long may be the beginning of a longer one, cut by a writer without rounding it up."""

_KINDS = (int, float, str, bool)
_DATE_LIKE = re.compile(r"\s*[+-]?[0-9]{4,6}-[0-9]{1,2}-[0-9]{1,2}")
_NUMBER_LIKE = re.compile(r"\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*")


class Bounds:
    """The smallest and largest value of a column in one file; None where unknown.

    `of_times` says that they are nanoseconds, whatever unit the column itself may count.
    """

    __slots__ = ("_column", "_of_times", "_statistics", "high", "low")

    def __init__(
        self, statistics: Statistics, column: str, low: Any, high: Any, of_times: bool = False
    ) -> None:
        self._statistics = statistics
        self._column = column
        self.low = low
        self.high = high
        self._of_times = of_times

    def may_be(self, operator: Operator, value: Value, steps: Sequence[Step] = ()) -> bool:
        """Whether a value within the bounds may, after `steps`, compare so with the constant."""
        low, high = self.low, self.high
        kind = type(high if low is None else low)
        if kind is int or kind is float:
            interval = value.interval
            if interval is None or (self._of_times and not self._compares(value, steps)):
                return True
            if (not steps and possible(operator, low, high, *interval)) or self._are_of_day(value):
                return True
            return self._may_nearly_be(operator, value, steps)
        if steps:
            return True
        if kind is str:
            return value.text is None or self._text_may_be(operator, value.text)
        flag = value.flag
        return flag is None or possible(operator, low, high, flag, flag)

    def _compares(self, value: Value, steps: Sequence[Step]) -> bool:
        """Whether the entry's times, in nanoseconds, can stand for what is compared."""
        return self._column == TIME_COLUMNS[0] or _in_nanoseconds(value, steps)

    def _are_of_day(self, value: Value) -> bool:
        """Whether they may be times of day, and the constant has a date, which a TIME loses."""
        if value.times is None or 0 <= value.times[0] <= DAY_NS:
            return False
        return all(each is None or 0 <= each <= DAY_NS for each in (self.low, self.high))

    def _may_nearly_be(self, operator: Operator, value: Value, steps: Sequence[Step]) -> bool:
        """Whether it may be after all, given how numbers are rounded and cast."""
        low, high = self.low, self.high
        interval = value.interval_32
        if interval is None:
            return True
        if not steps and not value.dated:
            # Mostly they are far apart, and it need not be known by how much they are rounded.
            wide_low = None if low is None else low - abs(low) * MOST_ROUNDED
            wide_high = None if high is None else high + abs(high) * MOST_ROUNDED
            if not possible(operator, wide_low, wide_high, *interval):
                return False
        single = is_single(low) and is_single(high)
        if not single:
            interval = value.interval or interval
        low, high = self._unrounded()
        for step in steps:
            low = None if low is None else step.low(low, single)
            high = None if high is None else step.high(high, single)
        if value.dated and high is not None and 0 in (self.high % DAY_NS, high % DAY_NS):
            high += DAY_NS - 1  # perhaps a DATE, to which the constant is cast
        return possible(operator, low, high, *interval)

    def _unrounded(self) -> tuple[Number, Number]:
        """Where the numbers lie that the bounds may have been rounded from."""
        statistics, low, high = self._statistics, self.low, self.high
        if self._of_times or (self._column in TIME_COLUMNS and statistics.agrees(self._column)):
            return statistics.entry.min_time, statistics.entry.max_time
        slack = statistics.slack
        return (
            None if low is None else low - slack(low),
            None if high is None else high + slack(high),
        )

    def _text_may_be(self, operator: Operator, text: str) -> bool:
        low, high = self.low, self.high
        if high is not None and len(high) >= _MAYBE_CUT and text.startswith(high):
            high = None
        if possible(operator, low, high, text, text):
            return True
        known = [each for each in (low, high, text) if each is not None]
        if all(map(_DATE_LIKE.match, known)):
            # Perhaps statistics of times, written as text.
            return len({re.sub("[0-9]", "0", each) for each in known}) > 1 or any(
                re.search(r"[+-][0-9:]+\s*$", each[10:]) for each in known
            )
        if all(map(_NUMBER_LIKE.fullmatch, known)):
            # Perhaps statistics of numbers, written as text.
            return _numbers_may_be(operator, low, high, text)
        return False

    def may_begin_with(self, prefix: str) -> bool:
        """Whether a text within the bounds may begin with `prefix`."""
        if type(self.high if self.low is None else self.low) is not str:
            return True
        if self.low is not None and self.low[: len(prefix)] > prefix:
            return False
        return self.high is None or self.high >= prefix or _cut(self.high, prefix)

    def all_begin_with(self, prefix: str) -> bool:
        """Whether every text within the bounds begins with `prefix`."""
        return (
            isinstance(self.low, str)
            and isinstance(self.high, str)
            and self.low.startswith(prefix)
            and self.high.startswith(prefix)
        )

    def shown(self, as_times: bool) -> str:
        """`1 to 29`, for people."""
        return f"{_shown(self.low, as_times)} to {_shown(self.high, as_times)}"


def _shown(value: Any, as_time: bool) -> str:
    if value is None:
        return "…"
    if type(value) in (int, float):
        return iso(int(value)) if as_time and abs(value) <= INT64_MAX else repr(value or 0)
    return repr(value)


def _in_nanoseconds(value: Value, steps: Sequence[Step]) -> bool:
    """Whether what a time column is compared with is surely a time, or nanoseconds."""
    if any(step.of_numbers for step in steps):
        return False
    if value.times is not None or steps:
        return True
    return value.numbers is not None and all(
        abs(number) >= PLAUSIBLE_NS for number in value.numbers
    )


def bounds_of(statistics: Statistics, column: str) -> Bounds | None:
    """The bounds of `column`, which is in lower case; None if nothing is known of it."""
    low, high = statistics.of(column)
    if low is None and high is None:
        if statistics.is_time_column(column):
            entry = statistics.entry
            return Bounds(statistics, column, entry.min_time, entry.max_time, True)
        return None
    return Bounds(statistics, column, low, high) if _usable(low, high) else None


def times_of(column: str, value: Value, steps: Sequence[Step]) -> tuple[int, int] | None:
    """The first and last nanosecond that the time column `column` may hold where, after `steps`, it
    equals the constant. None if there is no telling."""
    if value.interval is None or not (column == TIME_COLUMNS[0] or _in_nanoseconds(value, steps)):
        return None
    low, high = value.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    first, last = math.floor(low), math.ceil(high)
    if value.dated and any(step.kind == "date" for step in steps):
        first -= first % DAY_NS  # it is cast to a DATE as well
    for step in reversed(steps):
        first, last = step.before(first, last)
    return first, last


def possible(operator: Operator, low: Any, high: Any, first: Any, last: Any) -> bool:
    """Whether something in [low, high] may compare so with something in [first, last]. None stands
    for no bound."""
    refuted: bool
    if operator == "=":
        refuted = (high is not None and high < first) or (low is not None and low > last)
    elif operator == "<":
        refuted = low is not None and low >= last
    elif operator == "<=":
        refuted = low is not None and low > last
    elif operator == ">":
        refuted = high is not None and high <= first
    elif operator == ">=":
        refuted = high is not None and high < first
    else:
        refuted = low is not None and low == high and first == last == low
    return not refuted


def is_spelled(low: Any) -> bool:
    """Whether a lower bound may be that of numbers or times, written as text."""
    return isinstance(low, str) and bool(_DATE_LIKE.match(low) or _NUMBER_LIKE.fullmatch(low))


def _numbers_may_be(operator: Operator, low: Any, high: Any, text: str) -> bool:
    try:
        first, last = (None if each is None else float(each) for each in (low, high))
        number = float(text)
    except ValueError:
        return True
    return possible(operator, first, last, number, number)


def _cut(high: str, text: str) -> bool:
    return len(high) >= _MAYBE_CUT and text.startswith(high)


def _usable(low: Any, high: Any) -> bool:
    """Whether they can be the bounds of one column."""
    if not all(is_plausible(each) for each in (low, high) if type(each) is int):
        return False
    kind, other = type(low), type(high)
    if kind is other:
        return kind in _KINDS and not low > high
    if low is None or high is None:
        return (other if low is None else kind) in _KINDS
    return {kind, other} == {int, float} and not low > high
