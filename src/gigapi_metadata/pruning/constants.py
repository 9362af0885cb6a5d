"""The constant expressions within a syntax tree, and their values.

A literal is read off the tree. Whatever takes working out, such as `now() - interval '1 hour'`, is
left to DuckDB, all of a tree's in one go, so that a value is exactly what DuckDB would filter by.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import time as time_of_day
from decimal import Decimal, InvalidOperation
from typing import Any

from gigapi_metadata.pruning.instants import Zone, parse_instant, zone_of
from gigapi_metadata.pruning.parser import Evaluated, evaluate
from gigapi_metadata.pruning.values import (
    UNDECIDED,
    Value,
    number_value,
    single_value,
    text_value,
    value_of,
)

Node = dict[str, Any]

NOW_SLACK_S = 60
"""A condition with `now()` in it stays right for so long after it was parsed."""

# All calendar units of all zones begin at a multiple of this.
_QUARTER_S = 900

_NOW = {
    *("now", "current_timestamp", "get_current_timestamp", "transaction_timestamp"),
    *("today", "current_date", "localtimestamp", "current_localtimestamp"),
}
_NILADIC = {"current_timestamp", "current_date", "localtimestamp"}  # without brackets
# They depend on their arguments alone, do nothing else, and can't take long.
_HARMLESS = {
    *_NOW,
    *("+", "-", "*", "/", "//", "%", "trunc", "floor", "ceil", "round", "abs"),
    *("greatest", "least", "lower", "upper", "date_trunc", "datetrunc", "date_add", "timezone"),
    *("to_timestamp", "make_timestamp", "make_timestamp_ms", "make_timestamp_ns", "make_date"),
    *("epoch", "epoch_ms", "epoch_us", "epoch_ns", "strptime"),
    *("to_microseconds", "to_milliseconds", "to_seconds", "to_minutes", "to_hours", "to_days"),
    *("to_weeks", "to_months", "to_quarters", "to_years"),
}
_EPOCH_SLACK: dict[str, int] = {
    "epoch": NOW_SLACK_S,
    "epoch_ms": NOW_SLACK_S * 10**3,
    "epoch_us": NOW_SLACK_S * 10**6,
    "epoch_ns": NOW_SLACK_S * 10**9,
}
_HUGEST = 2**127
_INTEGERS = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
)
_TIME_TYPES = ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S")
_AWARE_TYPES = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
_MAX_DEPTH = 200


class Constants:
    """The constant parts of one syntax tree, worked out at once."""

    def __init__(self, tree: Any, time_zone: str | None = None) -> None:
        self.zone = zone_of(time_zone)
        self._constant: set[int] = set()
        self._values: dict[int, Value | None] = {}
        hard: list[Node] = []
        self._collect(tree, hard, 0)
        for node, found in zip(hard, evaluate(hard, time_zone), strict=True):
            self._values[id(node)] = _evaluated(node, found, self.zone)

    def is_constant(self, node: Any) -> bool:
        """Whether it has the same value for every row."""
        return id(node) in self._constant

    def is_null(self, node: Any) -> bool:
        """Whether it is the constant NULL."""
        return id(node) in self._values and self._values[id(node)] is None

    def value(self, node: Any) -> Value | None:
        """Its value if it is constant and not NULL."""
        return self._values.get(id(node))

    def text(self, node: Any) -> str | None:
        """Its value if it is a constant string."""
        value = self.value(node)
        return None if value is None else value.text

    def _collect(self, node: Any, hard: list[Node], depth: int) -> None:
        if depth > _MAX_DEPTH:
            return  # what is in there stays unknown
        if isinstance(node, list):
            for each in node:
                self._collect(each, hard, depth + 1)
        elif isinstance(node, dict):
            if _is_constant(node, 0):
                self._constant.add(id(node))
                easy, value = _literal(node, self.zone)
                if easy:
                    self._values[id(node)] = value
                else:
                    hard.append(node)
            elif node.get("class") != "SUBQUERY":
                for each in node.values():
                    if isinstance(each, (dict, list)):
                        self._collect(each, hard, depth + 1)


def children(node: Node) -> list[Any]:
    """The operands of an operator or conjunction."""
    found = node.get("children")
    return found if isinstance(found, list) else []


def arguments(node: Node) -> list[Any]:
    """The arguments of a function."""
    found = node.get("arguments")
    if isinstance(found, list):  # DuckDB 2
        return [each.get("expression") if isinstance(each, dict) else None for each in found]
    return children(node)


def type_name(node: Node) -> str:
    """The type that a cast is to, in capitals; "" if it is not a plain one."""
    for key, name in (("type_expr", "type_name"), ("cast_type", "id")):
        found = node.get(key)
        if isinstance(found, dict) and isinstance(found.get(name), str):
            return str(found[name]).upper()
    return ""


def _is_constant(node: Any, depth: int) -> bool:
    if not isinstance(node, dict) or depth > _MAX_DEPTH:
        return False
    kind = node.get("class")
    if kind == "CONSTANT":
        return True
    if kind == "COLUMN_REF":
        names = node.get("column_names")
        return isinstance(names, list) and len(names) == 1 and str(names[0]).lower() in _NILADIC
    if kind == "CAST":
        return _is_constant(node.get("child"), depth + 1)
    return (
        kind == "FUNCTION"
        and str(node.get("function_name")).lower() in _HARMLESS
        and not node.get("filter")
        and not node.get("distinct")
        and all(_is_constant(each, depth + 1) for each in arguments(node))
    )


def _literal(node: Node, zone: Zone) -> tuple[bool, Value | None]:
    """Whether it is a plain literal, and its value."""
    found = node.get("literal") if node.get("class") == "CONSTANT" else None
    if isinstance(found, dict):  # DuckDB 2
        kind, text = found.get("kind"), str(found.get("text", ""))
        if kind == "NULL_LITERAL":
            return True, None
        if kind == "STRING":
            return True, text_value(text, zone)
        if kind == "BOOLEAN":
            return True, value_of(text.lower() == "true")
        if kind in ("INTEGER", "NUMERIC"):
            return True, _number(text)
    if node.get("class") == "CAST" and not node.get("try_cast"):
        return _cast_literal(node, zone)
    return False, None


def _cast_literal(node: Node, zone: Zone) -> tuple[bool, Value | None]:
    """`TIMESTAMP '2024-01-15 14:00:00'` and the like, the most usual of all."""
    child = node.get("child")
    literal = child.get("literal") if isinstance(child, dict) else None
    if isinstance(literal, dict) and literal.get("kind") == "STRING":
        text, name = str(literal.get("text", "")), type_name(node)
        instant = parse_instant(text)
        if instant is not None and not instant.offset_ns and instant.wall_ns % 1000 == 0:
            if name == "TIMESTAMP":
                return True, Value(f"'{text}'", times=instant.naive(zone))
            if name in _AWARE_TYPES:
                return True, Value(f"'{text}'", times=instant.aware(zone))
    return False, None


def _number(text: str) -> Value:
    plain = text.replace("_", "")
    if plain.lstrip("+-").isdigit():
        number = int(plain)
        return number_value(number, text, double=abs(number) >= _HUGEST)
    try:
        exact = Decimal(plain)
    except InvalidOperation:
        return UNDECIDED
    digits = sum(map(str.isdigit, plain))
    return number_value(exact, text, double="e" in text.lower() or digits > 38)


def _evaluated(node: Node, found: Evaluated | None, zone: Zone) -> Value | None:
    if found is None:
        return UNDECIDED
    if found.text is None:
        return None
    value = _of_type(found.type, found.text, zone)
    names = set(_functions(node))
    return _lasting(value, names) if names & _NOW else value


def _of_type(name: str, text: str, zone: Zone) -> Value:
    if name in _TIME_TYPES or name in _AWARE_TYPES:
        instant = parse_instant(text)
        if instant is None:
            return UNDECIDED
        times = instant.aware(zone) if name in _AWARE_TYPES else instant.naive(zone)
        return Value(f"'{text}'", times=times)
    read = _READERS.get(name.partition("(")[0])
    try:
        return UNDECIDED if read is None else read(text, zone)
    except ValueError:
        return UNDECIDED


_READERS: dict[str, Callable[[str, Zone], Value]] = {
    **dict.fromkeys(_INTEGERS, lambda text, _: number_value(int(text), text)),
    "DECIMAL": lambda text, _: number_value(Decimal(text), text),
    "DOUBLE": lambda text, _: number_value(float(text), text, double=True),
    "FLOAT": lambda text, _: single_value(float(text), text),
    "BOOLEAN": lambda text, _: Value(text, flag=text == "true"),
    "TIME": lambda text, zone: value_of(time_of_day.fromisoformat(text), zone) or UNDECIDED,
    "VARCHAR": text_value,
}


def _lasting(value: Value, names: set[str]) -> Value:
    """The values that an expression takes within the next minute, which has `now()` in it."""
    moment = int(time.time()) % _QUARTER_S
    if not names.isdisjoint(("date_trunc", "datetrunc", "today", "current_date", "DATE")) and (
        moment > _QUARTER_S - NOW_SLACK_S - 5
    ):
        return UNDECIDED  # it may jump to the next hour or day
    if value.times is not None and value.text is None:
        low, high = value.times
        return Value(value.shown, times=(low, high + NOW_SLACK_S * 10**9))
    slack = [_EPOCH_SLACK[name] for name in names if name in _EPOCH_SLACK]
    if value.numbers is None or value.text is not None or not slack or "*" in names:
        return UNDECIDED
    first, last = value.numbers
    return Value(value.shown, (first - max(slack), last + max(slack)))


def _functions(node: Any) -> list[str]:
    """The functions of a tree, and the types it casts to, in capitals."""
    if isinstance(node, list):
        return [name for each in node for name in _functions(each)]
    if not isinstance(node, dict):
        return []
    names = [name for each in node.values() for name in _functions(each)]
    if node.get("class") == "FUNCTION":
        names.append(str(node.get("function_name")).lower())
    elif node.get("class") == "COLUMN_REF":
        names.append(str(node["column_names"][0]).lower())
    elif node.get("class") == "CAST":
        names.append(type_name(node))
    return names
