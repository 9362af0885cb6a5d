"""What a condition does to a column before it compares: `cast(ts as date)`, `x / 2`.

Only what never falls while the column rises is here, so that the results lie between those of the
column's smallest and largest value. Each step takes bounds to bounds, outwards where a type rounds,
and for a time window back from results to all the values that may have led to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gigapi_metadata.pruning.instants import DAY_NS, UTC_ZONE, ZONES_NS, Zone
from gigapi_metadata.pruning.values import Number

Kind = Literal["microseconds", "date", "truncate", "count", "instant", "*", "/", "//", "+"]

# Relative errors of one operation on float64 and on float32, some units in the last place.
_DOUBLE_ERROR = 2.0**-50
_SINGLE_ERROR = 2.0**-21
_WINDOW_ERROR = 2.0**-40
_LARGEST_SINGLE = 3.4e38

UNITS_NS = {
    "microsecond": 1000,
    "millisecond": 10**6,
    "second": 10**9,
    "minute": 60 * 10**9,
    "hour": 3600 * 10**9,
    "day": DAY_NS,
}
"""Units that begin at a multiple of themselves, at least in UTC."""

LONGEST_NS = {
    "week": 7 * DAY_NS,
    "month": 31 * DAY_NS,
    "quarter": 92 * DAY_NS,
    "year": 366 * DAY_NS,
}
"""The other units of date_trunc, and how long one is at most."""


@dataclass(frozen=True)
class Step:
    """One step. Times are nanoseconds. `kind` is one of

    microseconds    a cast to a TIMESTAMP, which rounds nanoseconds
    date            a cast to DATE
    truncate        date_trunc to a unit of `amount` nanoseconds; of at most so many, if not `even`
    count           a time to a number of units of `amount` nanoseconds, as epoch_ms does
    instant         a number of units of `amount` nanoseconds to a time, as make_timestamp does
    * / // +         arithmetic with a number above 0 (+: with any)
    """

    kind: Kind
    amount: Number = 1
    even: bool = True
    zone: Zone = UTC_ZONE

    @property
    def of_numbers(self) -> bool:
        """Whether it works on numbers, in whatever unit they count, not on times."""
        return self.kind in ("instant", "*", "/", "//", "+")

    def low(self, value: Number, single: bool) -> Number:
        """A lower bound of what becomes of `value`, or of anything larger. With `single`, it may be
        of type float32."""
        match self.kind:
            case "microseconds":
                return value - value % 1000
            case "date":
                local = self.zone.of_aware(math.floor(value))[0]
                return local - local % DAY_NS
            case "truncate":
                if self.even and self.zone.is_utc(math.floor(value)):
                    return value - value % self.amount
                return value - self.amount
            case "count":
                return self._counted(value - value % 1000)
            case _:
                return self._arithmetic(value, -1, single)

    def high(self, value: Number, single: bool) -> Number:
        """An upper bound, likewise."""
        match self.kind:
            case "microseconds":
                return value + -value % 1000
            case "date":
                local = self.zone.of_aware(math.ceil(value))[1]
                return local - local % DAY_NS
            case "truncate":
                if self.even and self.zone.is_utc(math.floor(value)):
                    return value - value % self.amount
                return value
            case "count":
                return self._counted(value + -value % 1000)
            case _:
                return self._arithmetic(value, 1, single)

    def _counted(self, value: Number) -> Number:
        if self.even:
            return value // self.amount
        return value / self.amount  # a float: the nearest to it

    def _arithmetic(self, value: Number, outwards: int, single: bool) -> Number:
        if self.kind == "instant":
            exact = value * self.amount
            return exact if isinstance(exact, int) else exact + outwards * 1000
        if self.kind in ("/", "//"):
            result = float(value) / float(self.amount)
        elif self.kind == "*":
            result = float(value) * float(self.amount)
        else:
            result = float(value) + float(self.amount)
        if (single and abs(result) > _LARGEST_SINGLE) or math.isinf(result):
            infinite = math.copysign(math.inf, result)
            return infinite if outwards * result > 0 else math.copysign(_LARGEST_SINGLE, result)
        largest = max(abs(float(value)), abs(float(self.amount)), abs(result))
        error = _SINGLE_ERROR if single else _DOUBLE_ERROR
        scale = largest if self.kind == "+" else abs(result)
        result += outwards * scale * error
        # Of integers alone it is whole, towards zero; of others `//` is as `/`.
        inwards = self.kind == "//" and outwards * result < 0
        return math.trunc(result) if inwards else result

    def before(self, first: int, last: int) -> tuple[int, int]:
        """An interval of values that holds all those whose results are in [first, last]."""
        unit = self.amount
        match self.kind:
            case "microseconds":
                found = first - 1000, last + 1000
            case "date" if self.zone.is_utc(first) and self.zone.is_utc(last):
                found = first, last + DAY_NS - 1
            case "date":
                found = first - ZONES_NS, last + DAY_NS + ZONES_NS
            case "truncate":
                found = first, last + math.ceil(unit)
            case "count":
                found = first * unit - 1000, (last + 1) * unit + 1000
            case "instant" | "*":
                found = _outwards(first / unit, last / unit)
            case "/" | "//":
                found = _outwards((first - 1) * unit, (last + 1) * unit)
            case _:
                found = _outwards(first - unit, last - unit)
        return found


def _outwards(first: Number, last: Number) -> tuple[int, int]:
    first, last = float(first), float(last)
    low = first - abs(first) * _WINDOW_ERROR
    high = last + abs(last) * _WINDOW_ERROR
    return math.floor(low) - 1, math.ceil(high) + 1
