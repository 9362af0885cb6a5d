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
from collections.abc import Callable
from functools import lru_cache
from operator import ge, gt
from typing import Any, Literal

from gigapi_metadata.model import TIME_COLUMNS, IndexEntry, Stats
from gigapi_metadata.pruning.instants import DAY_NS
from gigapi_metadata.pruning.values import Number, Value

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_CJSON_DIGITS = 14
_CJSON_LIMIT = 10**_CJSON_DIGITS
_EXACT_IN_FLOAT = 2**53
_MAYBE_CUT = 16
"""A text this long may be the beginning of a longer one, cut by a writer without rounding it up."""

_DATE_LIKE = re.compile(r"\s*[+-]?[0-9]{4,6}-[0-9]{1,2}-[0-9]{1,2}")
_NUMBER_LIKE = re.compile(r"\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*")


class Bounds:
    """The smallest and largest value of a column in one file; None where unknown."""

    __slots__ = ("_entry", "_exact", "high", "low")

    def __init__(self, entry: IndexEntry, low: Any, high: Any, exact: bool) -> None:
        self._entry = entry
        self.low = low
        self.high = high
        self._exact = exact

    def may_be(self, operator: Operator, value: Value) -> bool:
        """Whether a value within the bounds may compare so with the constant."""
        kind = _kind(self.low, self.high)
        if kind is str:
            return value.text is None or self._text_may_be(operator, value.text)
        if kind is bool:
            flag = value.flag
            return flag is None or _possible(operator, self.low, self.high, flag, flag)
        if kind is None or value.interval is None:
            return True
        first, last = value.interval
        if _possible(operator, self.low, self.high, first, last):
            return True
        return self._may_nearly_be(operator, value)

    def _may_nearly_be(self, operator: Operator, value: Value) -> bool:
        """Whether it may be after all, given how numbers are rounded and cast."""
        low, high = self.low, self.high
        interval = value.interval
        if interval is None:
            return True
        if _is_single(low) and _is_single(high) and value.interval_32 is not None:
            interval = value.interval_32
        if value.dated and high is not None and high % DAY_NS == 0:
            high += DAY_NS - 1
        if not self._exact:
            slack = slack_of(self._entry)
            low = None if low is None else low - slack(low)
            high = None if high is None else high + slack(high)
        return _possible(operator, low, high, *interval)

    def _text_may_be(self, operator: Operator, text: str) -> bool:
        low, high = self.low, self.high
        if high is not None and len(high) >= _MAYBE_CUT and text.startswith(high):
            high = None
        if _possible(operator, low, high, text, text):
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
        if _kind(self.low, self.high) is not str:
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

    def __str__(self) -> str:
        low = "…" if self.low is None else repr(self.low)
        high = "…" if self.high is None else repr(self.high)
        return f"{low} to {high}"


def bounds_of(entry: IndexEntry, column: str, time_column: str | None = None) -> Bounds | None:
    """The bounds of `column`, which is in lower case; None if nothing is known of it.

    `time_column` as in `Condition.may_match`.
    """
    low = _statistic(entry.min_data, column)
    high = _statistic(entry.max_data, column)
    if low is None and high is None:
        if is_time_column(entry, column, time_column):
            return Bounds(entry, entry.min_time, entry.max_time, True)
        return None
    if column in TIME_COLUMNS and type(low) is not str and _agrees(entry, column, low, high):
        return Bounds(entry, entry.min_time, entry.max_time, True)
    if not _usable(low, high):
        return None
    return Bounds(entry, low, high, False)


def is_time_column(entry: IndexEntry, column: str, time_column: str | None = None) -> bool:
    """Whether the entry's `min_time` and `max_time` are surely those of `column`, which is in lower
    case. They are of `time_column`, if that is known."""
    if time_column is not None:
        return column == time_column.lower()
    low, high = _statistic(entry.min_data, column), _statistic(entry.max_data, column)
    if low is not None or high is not None:
        return column in TIME_COLUMNS and _agrees(entry, column, low, high)
    if column != TIME_COLUMNS[0]:
        return False
    return not any(_statistic(entry.min_data, other) is not None for other in TIME_COLUMNS[1:])


def _agrees(entry: IndexEntry, column: str, low: Any, high: Any) -> bool:
    """Whether statistics of `column` are those that the entry's times would have."""
    for other in TIME_COLUMNS[: TIME_COLUMNS.index(column)]:
        if _statistic(entry.min_data, other) is not None:
            return False
    return _rounds_to(entry.min_time, low) and (
        _rounds_to(entry.max_time, high)
        # A date's time is its whole day.
        or _rounds_to(entry.max_time - DAY_NS + 1, high)
    )


def _rounds_to(exact: int, found: Any) -> bool:
    return type(found) in (int, float) and (
        exact == found or float(f"{exact:.{_CJSON_DIGITS}g}") == found
    )


def slack_of(entry: IndexEntry) -> Callable[[Number], Number]:
    """By how much a number among the entry's statistics may differ from the true one."""
    numbers = [
        value
        for stats in (entry.min_data, entry.max_data)
        for value in (stats or {}).values()
        if type(value) in (int, float)
    ]
    if any(_is_exact(number) for number in numbers):
        return _float_slack  # so cjson has not had them
    if any(type(number) is float and abs(number) >= _CJSON_LIMIT for number in numbers):
        return _cjson_slack
    return _maybe_cjson_slack


def _is_exact(number: Number) -> bool:
    """Whether it has digits that cjson would not have left."""
    if isinstance(number, int):
        return abs(number) >= _CJSON_LIMIT and len(str(abs(number)).rstrip("0")) > _CJSON_DIGITS
    return float(f"{number:.{_CJSON_DIGITS}g}") != number


def _float_slack(number: Number) -> Number:
    """Go's JSON has integers as float64, and writes their shortest digits."""
    if isinstance(number, int) and abs(number) > _EXACT_IN_FLOAT:
        # Digits that a float64 would not have left prove that it has not been one.
        return int(math.ulp(number)) if int(float(repr(float(number)))) == number else 0
    return 0


def _maybe_cjson_slack(number: Number) -> Number:
    """Integers that cjson would write as they are, are taken for the integers they are."""
    return 0 if type(number) is int and abs(number) < _CJSON_LIMIT else _cjson_slack(number)


def _cjson_slack(number: Number) -> Number:
    if isinstance(number, int) and abs(number) >= _CJSON_LIMIT:
        return 10 ** (len(str(abs(number))) - _CJSON_DIGITS) + int(math.ulp(number))
    return abs(float(number)) * 10.0 ** (1 - _CJSON_DIGITS)


def _possible(operator: Operator, low: Any, high: Any, first: Any, last: Any) -> bool:
    """Whether something in [low, high] may compare so with something in [first, last]. None stands
    for no bound."""
    match operator:
        case "=":
            return not ((high is not None and high < first) or (low is not None and low > last))
        case "<":
            return low is None or not ge(low, last)
        case "<=":
            return low is None or not gt(low, last)
        case ">":
            return high is None or not ge(first, high)
        case ">=":
            return high is None or not gt(first, high)
        case _:
            return not (low is not None and low == high and first == last == low)


def _numbers_may_be(operator: Operator, low: Any, high: Any, text: str) -> bool:
    try:
        numbers = [None if each is None else float(each) for each in (low, high, text)]
    except ValueError:
        return True
    return _possible(operator, *numbers, numbers[2])


def _cut(high: str, text: str) -> bool:
    return len(high) >= _MAYBE_CUT and text.startswith(high)


def _kind(low: Any, high: Any) -> type | None:
    kind = type(high if low is None else low)
    return int if kind is float else kind


def _usable(low: Any, high: Any) -> bool:
    """Whether they can be the bounds of one column."""
    if low is None or high is None:
        kind = type(high if low is None else low)
        return kind in (int, float, str, bool)
    kinds = {_kind(low, None), _kind(high, None)}
    return len(kinds) == 1 and kinds <= {int, str, bool} and not low > high


def _is_single(number: Any) -> bool:
    """Whether a column of float32 may hold it. (No bound: it may.)"""
    if number is None:
        return True
    mantissa, _ = math.frexp(number)
    return float(number) == number and mantissa * 2**24 % 1 == 0


def _statistic(stats: Stats | None, column: str) -> Any:
    if not stats:
        return None
    name = _name_in(tuple(stats), column)
    return None if name is None else stats[name]


@lru_cache(maxsize=4096)
def _name_in(names: tuple[str, ...], column: str) -> str | None:
    """Which of `names` means `column`, in lower case: DuckDB's names have no case. None if it is
    not there, or not sure."""
    found = [name for name in names if name.lower() == column]
    return found[0] if len(found) == 1 else None
