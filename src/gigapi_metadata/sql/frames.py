"""A table's rows of a time range as a data frame.

What is asked for becomes a SQL query over the one table, so it is planned as any other: files are
left out by their statistics, row groups by theirs, and rows by the conditions themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from gigapi_metadata.errors import InvalidCondition, QueryFailed
from gigapi_metadata.pruning import Condition, parse_condition
from gigapi_metadata.sql.engine import Served, engine_for, literal, quoted
from gigapi_metadata.sql.names import TableName
from gigapi_metadata.sql.plan import Entries, Planner
from gigapi_metadata.sql.relation import Query, Relation
from gigapi_metadata.sql.schemas import DAY_NS, TimeColumn
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN, TimeBound, Window
from gigapi_metadata.timerange import window as window_of

if TYPE_CHECKING:
    from gigapi_metadata.pruning import Where

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Table(Entries, Served, Protocol):
    """What is needed of an index."""

    @property
    def database(self) -> str: ...
    @property
    def table(self) -> str: ...


class Asked(NamedTuple):
    """What is asked for: see `Index.to_arrow`."""

    after: TimeBound = None
    before: TimeBound = None
    columns: Sequence[str] | None = None
    where: Where | None = None
    time_column: str | None = None


def read(index: Table, asked: Asked) -> Relation:
    """The rows, not read yet. See `Index.to_duckdb`."""
    planner = Planner(engine_for(index), _OneTable(index), lambda *_: index, asked.time_column)
    return Relation(Query(planner, _text(planner, index, asked)))


class _OneTable:
    """The names of a catalog that is one table."""

    def __init__(self, index: Table) -> None:
        self._name = TableName(index.database, index.table)

    def find(self, database: str, table: str) -> TableName:
        return self._name

    def other_case(self, name: TableName) -> TableName:
        self.refuse(name)

    def refuse(self, name: TableName) -> NoReturn:
        raise QueryFailed(
            f"{name.database}.{name.table} holds no files, so it has no columns to give"
        )


def _text(planner: Planner, index: Table, asked: Asked) -> str:
    columns = "*"
    if asked.columns is not None:
        if isinstance(asked.columns, str) or not all(isinstance(c, str) for c in asked.columns):
            raise QueryFailed("columns must be a list of names")
        columns = ", ".join(map(quoted, asked.columns))
        if not columns:
            raise QueryFailed("columns is empty; leave it out for all of them")
    conditions = []
    window = window_of(asked.after, asked.before)
    if not window.unbounded:
        name = TableName(index.database, index.table)
        with planner.engine.connect() as connection:
            column = planner.time_column_of(connection, name)
        conditions.append(_within(column, window))
    if asked.where is not None:
        conditions.append(_where(asked.where))
    text = f"SELECT {columns} FROM {quoted(index.database)}.{quoted(index.table)}"
    return text + (" WHERE " + " AND ".join(conditions) if conditions else "")


# Times


def _within(column: TimeColumn, window: Window) -> str:
    """The condition on rows that their time lies in the window, exact to the nanosecond."""
    if window.after > window.before:
        return "false"
    name = quoted(column.name)
    sides = (">=", window.after, INT64_MIN), ("<=", window.before, INT64_MAX)
    parts = [
        f"{name} {operator} {_instant(column.type, bound, operator == '>=')}"
        for operator, bound, none in sides
        if bound != none
    ]
    return " AND ".join(parts)


def _instant(kind: str, time_ns: int, first: bool) -> str:
    """A nanosecond as a constant of a column's type: the first or the last one that is in the
    window."""
    if kind in ("BIGINT", "UBIGINT"):
        return str(time_ns if kind == "BIGINT" else max(time_ns, 0))
    if kind == "DATE":  # all of a day counts
        return f"DATE {literal((_EPOCH + timedelta(days=time_ns // DAY_NS)).date().isoformat())}"
    precise = kind.endswith("_NS")
    unit = 1 if precise else 1000
    seconds, rest = divmod((-(-time_ns // unit) if first else time_ns // unit) * unit, 10**9)
    moment = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")
    zone = "+00" if kind.startswith(("TIMESTAMPTZ", "TIMESTAMP WITH")) else ""
    return f"{literal(f'{moment}.{rest:09}{zone}')}::{kind}"


# Conditions


def _where(where: Where) -> str:
    """A condition as SQL. What is no condition raises InvalidCondition."""
    if isinstance(where, Condition):
        raise InvalidCondition("rows are filtered by SQL text or tuples, not by a Condition")
    parse_condition(where)
    # The line end is for a comment.
    return f"({where}\n)" if isinstance(where, str) else _tuples(where)


def _tuples(where: Any) -> str:
    if isinstance(where, tuple) and len(where) == 3 and isinstance(where[0], str):
        return _tuple(*where)
    either = all(isinstance(part, list) for part in where)
    return "(" + (" OR " if either else " AND ").join(map(_tuples, where)) + ")"


def _tuple(column: str, operator: str, value: Any) -> str:
    operator = {"==": "="}.get(operator, " ".join(operator.upper().split()))
    if operator in ("IN", "NOT IN"):
        members = ", ".join(map(_value, value)) or "NULL"
        return f"{quoted(column)} {operator} ({members})" if value else str(operator != "IN")
    return f"{quoted(column)} {operator} {_value(value)}"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value)
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, float):
        return f"{literal(repr(value))}::DOUBLE"
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            value = value.astimezone()
        return f"{literal(value.astimezone(UTC).isoformat())}::TIMESTAMPTZ"
    if isinstance(value, date):
        return f"DATE {literal(value.isoformat())}"
    return literal(str(value))
