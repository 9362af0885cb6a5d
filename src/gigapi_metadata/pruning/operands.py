"""What stands beside a constant in a comparison: a column, after steps that can be followed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gigapi_metadata.pruning.bounds import Operator
from gigapi_metadata.pruning.comparisons import Comparison
from gigapi_metadata.pruning.conditions import Condition, Unknown
from gigapi_metadata.pruning.instants import Zone
from gigapi_metadata.pruning.steps import LONGEST_NS, UNITS_NS, Step
from gigapi_metadata.pruning.values import Value

# A time's count in a unit of so many nanoseconds. (epoch gives a float.)
_COUNTS = {"epoch_ns": 1, "epoch_us": 1000, "epoch_ms": 10**6, "epoch": 10**9}
# A number of such units, as a time. epoch_ms goes both ways.
_INSTANTS = {
    "make_timestamp_ns": 1,
    "make_timestamp": 1000,
    "make_timestamp_ms": 10**6,
    "to_timestamp": 10**9,
}
_TIMESTAMPS = (
    "TIMESTAMP",
    "DATETIME",
    "TIMESTAMP_NS",
    "TIMESTAMP_US",
    "TIMESTAMPTZ",
    "TIMESTAMP WITH TIME ZONE",
)


@dataclass(frozen=True)
class Operand:
    """`column`, after `steps`; not understood when that is None."""

    column: str | None
    steps: tuple[Step, ...] = ()
    shown: str = ""
    ambiguous: bool = False
    """Whether it is epoch_ms of a number or of a time, which only the constant tells."""

    def compared(self, operator: Operator, value: Value) -> Condition:
        """The condition that compares it with a constant."""
        if self.column is None:
            return Unknown()
        steps = self.steps
        if self.ambiguous:
            if value.text is not None:
                return Unknown()
            if value.times is not None:
                steps = (*steps[:-1], Step("instant", 10**6))
        return Comparison(self.column, operator, value, steps, self.shown)

    def cast(self, name: str, zone: Zone) -> Operand:
        """CAST to a type of time."""
        if name == "DATE":
            return self._then(Step("date", zone=zone), f"cast({self} as date)")
        if name in _TIMESTAMPS:
            return self._then(Step("microseconds"), f"cast({self} as {name.lower()})")
        return NO_OPERAND

    def truncated(self, unit: str | None, zone: Zone) -> Operand:
        """date_trunc."""
        name = (unit or "").lower()
        shown = f"date_trunc('{name}', {self})"
        if name in UNITS_NS:
            return self._then(Step("truncate", UNITS_NS[name], zone=zone), shown)
        if name in LONGEST_NS:
            return self._then(Step("truncate", LONGEST_NS[name], False, zone), shown)
        return NO_OPERAND

    def function(self, name: str) -> Operand:
        """A function of it alone."""
        shown = f"{name}({self})"
        if name in _COUNTS:
            found = self._then(Step("count", _COUNTS[name], name != "epoch"), shown)
            return replace(found, ambiguous=name == "epoch_ms") if found.column else found
        if name in _INSTANTS:
            return self._then(Step("instant", _INSTANTS[name]), shown)
        return NO_OPERAND

    def arithmetic(self, name: str, value: Value | None) -> Operand:
        """An operator with a number on its right."""
        if value is None or value.numbers is None or value.text is not None:
            return NO_OPERAND
        low, high = value.numbers
        if not math.isfinite(low) or name not in ("*", "/", "//", "+", "-"):
            return NO_OPERAND
        number = int(low) if low == high == int(low) else float(value.shown)
        shown = f"{self} {name} {value}"
        if name in ("+", "-"):
            return self._then(Step("+", number if name == "+" else -number), shown)
        if number <= 0:
            return NO_OPERAND
        return self._then(Step(name, number), shown)  # type: ignore[arg-type]

    def _then(self, step: Step, shown: str) -> Operand:
        if self.column is None or self.ambiguous:
            return NO_OPERAND
        return Operand(self.column, (*self.steps, step), shown)

    def __str__(self) -> str:
        return self.shown or self.column or "?"


NO_OPERAND = Operand(None)
"""An expression that is not understood."""
