"""DuckDB as a parser: SQL text -> its syntax tree, and constant expressions -> their values.

DuckDB is imported when it is first needed. One in-memory database serves the process, a cursor of
it each thread; it can't reach any file and runs no query but on constants.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any, NamedTuple

from gigapi_metadata.errors import InvalidCondition, MissingExtra
from gigapi_metadata.pruning.limits import TOO_DEEP, fault_of

Node = dict[str, Any]

_PREFIX = "SELECT 1 WHERE "
_LONGEST_SHOWN = 200
_lock = threading.Lock()
_local = threading.local()
_databases: dict[int, Any] = {}  # by process: a fork can't go on with its parent's


class Evaluated(NamedTuple):
    """The value of a constant expression: DuckDB's name of its type, and its text (None: NULL)."""

    type: str
    text: str | None


def parse_expression(sql: str) -> Node:
    """The syntax tree of what may stand after WHERE.

    Raises:
        InvalidCondition: it can't; the message shows where.
        MissingExtra: DuckDB is not installed.
    """
    if not sql.strip():
        raise InvalidCondition("the condition is empty; leave it out, or write true")
    tree = serialize(_PREFIX + sql, len(_PREFIX), sql)
    statements = tree.get("statements", [])
    node = statements[0]["node"] if len(statements) == 1 else {}
    if not _is_plain(node):
        raise InvalidCondition(
            f"{_quoted(sql)} is more than a condition; write what may stand after WHERE, without "
            "ORDER BY or LIMIT"
        )
    found: Node = node["where_clause"]
    return found


def serialize(sql: str, offset: int = 0, shown: str | None = None) -> Node:
    """The syntax tree of SELECT statements. Errors count positions from `offset`, in `shown`.

    Raises:
        InvalidCondition: it can't be parsed; the message shows where.
        MissingExtra: DuckDB is not installed.
    """
    text = sql if shown is None else shown
    if "\0" in sql:
        raise InvalidCondition(f"{_quoted(text)} holds a zero character")
    try:
        sql.encode()
    except UnicodeEncodeError as fault:
        raise InvalidCondition(f"{_quoted(text)} is not valid Unicode text") from fault
    if refused := fault_of(sql):
        raise InvalidCondition(f"{_quoted(text)} can't be parsed: {refused}")
    # All rows: DuckDB's connection stays busy until the last one is fetched.
    rows = cursor().execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    try:
        tree: Node = json.loads(rows[0][0])
    except RecursionError as fault:
        raise InvalidCondition(f"{_quoted(text)} can't be parsed: {TOO_DEEP}") from fault
    if tree.get("error_type") == "not implemented":
        raise InvalidCondition(f"{_quoted(text)} holds a statement that is no SELECT")
    if tree.get("error"):
        where = ""
        if tree.get("position") is not None:
            before = sql.encode()[: int(tree["position"])].decode(errors="ignore")
            at = max(len(before) - offset, 0)
            where = f" at character {at + 1}: {text[at : at + 40]!r}"
        raise InvalidCondition(
            f"{_quoted(text)}: {tree.get('error_message', 'not valid SQL')}{where}"
        )
    return tree


def evaluate(expressions: list[Node], time_zone: str | None = None) -> list[Evaluated | None]:
    """The values of constant expressions; None where one has none (a cast that fails).

    They must call no functions but harmless ones: the caller sees to that.
    """
    if not expressions:
        return []
    try:
        return _evaluated(expressions, time_zone)
    except _duckdb().Error:
        if len(expressions) == 1:
            return [None]
        return [evaluate([each], time_zone)[0] for each in expressions]


def _evaluated(expressions: list[Node], time_zone: str | None) -> list[Evaluated | None]:
    tree = serialize("SELECT 1")
    tree["statements"][0]["node"]["select_list"] = [
        {**each, "alias": f"c{number}"} for number, each in enumerate(expressions)
    ]
    connection = cursor()
    if time_zone is not None:
        connection.execute(f"SET TimeZone = '{time_zone.replace(chr(39), chr(39) * 2)}'")
    try:
        [row] = connection.execute(
            "SELECT typeof(COLUMNS(*)), COLUMNS(*)::VARCHAR FROM json_execute_serialized_sql(?)",
            [json.dumps(tree)],
        ).fetchall()
    finally:
        if time_zone is not None:
            connection.execute("RESET TimeZone")
    count = len(expressions)
    return [Evaluated(row[number], row[count + number]) for number in range(count)]


def cursor() -> Any:
    """This thread's cursor of the process's parser."""
    process = os.getpid()
    if getattr(_local, "process", None) != process:
        with _lock:
            database = _databases.get(process)
            if database is None:
                database = _databases[process] = _open()
        _local.cursor = database.cursor()
        _local.process = process
    return _local.cursor


def _open() -> Any:
    return _duckdb().connect(
        ":memory:",
        config={
            "threads": 1,
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as fault:
        raise MissingExtra(
            "conditions in SQL need duckdb; pip install 'gigapi-metadata[sql]', or write them as "
            "tuples such as ('temp', '>', 30)"
        ) from fault
    return duckdb


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:60]!r}…"


def _is_plain(node: Node) -> bool:
    """Whether a tree is just SELECT 1 WHERE …."""
    return (
        node.get("type") == "SELECT_NODE"
        and not node.get("modifiers")
        and not node.get("group_expressions")
        and node.get("having") is None
        and node.get("qualify") is None
        and node.get("sample") is None
        and len(node.get("select_list", ())) == 1
        and node.get("where_clause") is not None
    )
