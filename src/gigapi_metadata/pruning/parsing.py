"""A condition as users write it -> a Condition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from gigapi_metadata.errors import InvalidCondition
from gigapi_metadata.pruning.comparisons import Comparison, In, IsNull
from gigapi_metadata.pruning.conditions import Condition, Constant, Or, all_of
from gigapi_metadata.pruning.instants import Zone, zone_of
from gigapi_metadata.pruning.limits import TOO_DEEP
from gigapi_metadata.pruning.translating import condition_from_duckdb
from gigapi_metadata.pruning.values import Value, value_of

Where: TypeAlias = "str | Condition | tuple[str, str, Any] | list[Any]"
"""SQL text; `("temp", ">", 30)`; a list of those, all of which must hold; a list of such lists, one
of which must hold (as pyarrow's `filters`); or a Condition."""

__all__ = ["Where", "condition_from_duckdb", "parse_condition"]

_OPERATORS = {
    "==": "=",
    "<>": "!=",
    "=": "=",
    "!=": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_FORMS = (
    "a condition is SQL text, a tuple such as ('temp', '>', 30), a list of such tuples, "
    "or a list of such lists"
)


def parse_condition(where: Where, *, time_zone: str | None = None) -> Condition:
    """The condition that `where` means.

    SQL is what DuckDB would take after WHERE. What there is no pruning by, such as a subquery or a
    comparison of two columns, is no error: it may always match. `now()` is the time of this call
    and good for a minute. `time_zone` is that of the DuckDB session in which the rows will be
    filtered, by default the system's.

    A tuple is (column, operator, value) with the operators =, ==, !=, <>, <, <=, >, >=, "in" and
    "not in" (a list of values), "is" and "is not" (None). A value is None, a bool, number, string,
    date, time or datetime. As in SQL, a comparison with None is never true.

    Raises:
        InvalidCondition: it is no condition. The message says where it fails.
        MissingExtra: it is SQL and DuckDB is not installed.
    """
    if isinstance(where, Condition):
        return where
    if isinstance(where, str):
        from gigapi_metadata.pruning.parser import parse_expression

        try:
            return condition_from_duckdb(parse_expression(where), time_zone=time_zone)
        except RecursionError as fault:
            raise InvalidCondition(f"{where[:60]!r}… can't be parsed: {TOO_DEEP}") from fault
    return _parsed(where, zone_of(time_zone))


def _parsed(where: Any, zone: Zone) -> Condition:
    if isinstance(where, tuple) and len(where) == 3 and isinstance(where[0], str):
        return _comparison(*where, zone)
    if not isinstance(where, (list, tuple)) or not where:
        raise InvalidCondition(f"{where!r} is no condition; {_FORMS}")
    if all(isinstance(part, list) for part in where):
        return Or(tuple(_parsed(part, zone) for part in where))
    return all_of(part if isinstance(part, Condition) else _parsed(part, zone) for part in where)


def _comparison(column: str, operator: Any, value: Any, zone: Zone) -> Condition:
    shown = f"({column!r}, {operator!r}, {value!r})"
    if not isinstance(operator, str):
        raise InvalidCondition(f"{shown}: the operator must be a string such as '>'")
    name = " ".join(operator.lower().split())
    if name in ("in", "not in"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise InvalidCondition(f"{shown}: {name!r} needs a list of values")
        members = [_value(shown, each, zone) for each in value]
        some = tuple(each for each in members if each is not None)
        found: Condition = In(column, some, len(some) < len(members))
        return found if name == "in" else found.negated()
    if name in ("is", "is not"):
        if value is not None:
            raise InvalidCondition(f"{shown}: {name!r} goes with None alone")
        return IsNull(column, name == "is")
    if name not in _OPERATORS:
        known = ", ".join([*_OPERATORS, "in", "not in", "is", "is not"])
        raise InvalidCondition(f"{shown}: the operator must be one of {known}")
    constant = _value(shown, value, zone)
    if constant is None:
        return Constant(None)
    return Comparison(column, _OPERATORS[name], constant)  # type: ignore[arg-type]


def _value(shown: str, value: Any, zone: Zone) -> Value | None:
    try:
        return value_of(value, zone)
    except TypeError as fault:
        raise InvalidCondition(
            f"{shown}: a value is None, a bool, number, string, date, time or datetime; {fault}"
        ) from fault
