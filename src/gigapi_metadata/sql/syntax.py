"""SQL text -> the tree of DuckDB's own parser, and back. What is no query is refused here.

The tree is JSON as `json_serialize_sql` gives it; nothing is bound or run by it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from gigapi_metadata.errors import QueryFailed
from gigapi_metadata.pruning.limits import fault_of
from gigapi_metadata.sql.faults import marked

Node = dict[str, Any]

_ONLY = "only one query is run at a time: SELECT, VALUES, WITH, FROM, DESCRIBE, SUMMARIZE, EXPLAIN"
_SPACE = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)"
_EXPLAIN = re.compile(rf"{_SPACE}*explain\b(?:{_SPACE}+analyze\b)?", re.IGNORECASE | re.DOTALL)
_PIVOT = re.compile(r"\bpivot\b", re.IGNORECASE)


class Statement(NamedTuple):
    """One query. `explain` is "EXPLAIN ", "EXPLAIN ANALYZE " or "". `text` has the same characters
    at the same places as what was given, but for an EXPLAIN that is blanked out."""

    tree: Node
    text: str
    explain: str

    @property
    def query(self) -> Node:
        """The query node."""
        found: Node = self.tree["statements"][0]["node"]
        return found


def parse(connection: Any, text: str) -> Statement:
    """The one query that `text` is.

    Raises:
        QueryFailed: it can't be parsed, or is none, or there are several.
    """
    if not isinstance(text, str):
        raise QueryFailed(f"a query is a string, not {type(text).__name__}")
    if fault := fault_of(text):
        raise QueryFailed(f"the query can't be parsed: {fault}")
    explain, given = "", text
    if found := _EXPLAIN.match(text):
        explain = "EXPLAIN ANALYZE " if "analyze" in found[0].lower() else "EXPLAIN "
        given = re.sub(r"\S", " ", found[0]) + text[found.end() :]
    tree = serialized(connection, given)
    if tree["error"]:
        _refuse(tree, text)
    if len(tree["statements"]) != 1:
        raise QueryFailed(
            "the query is empty" if not tree["statements"] else f"there are several: {_ONLY}"
        )
    return Statement(tree, given, explain)


def serialized(connection: Any, text: str) -> Node:
    """The tree of `text`, whose "error" is true when it can't be had."""
    try:
        answer = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0]
    except UnicodeEncodeError as fault:
        raise QueryFailed("the query is not valid Unicode text") from fault
    found: Node = msgspec.json.decode(answer)
    return found


def deserialized(connection: Any, tree: Node) -> str:
    """The text of a tree."""
    given = msgspec.json.encode(tree).decode()
    text: str = connection.execute("SELECT json_deserialize_sql(?::JSON)", [given]).fetchall()[0][0]
    return text


def name_expressions(connection: Any, query: Any) -> None:
    """Give columns of a SELECT that hold a query, or a name with its database, the name that DuckDB
    would give them: it would be told about files where the text has tables."""
    if isinstance(query, list):
        for each in query:
            name_expressions(connection, each)
    elif isinstance(query, dict):
        for each in query.get("select_list") or ():
            if not each.get("alias") and each.get("class") != "COLUMN_REF" and _is_retold(each):
                tree = serialized(connection, "SELECT 1")
                tree["statements"][0]["node"]["select_list"] = [each]
                each["alias"] = deserialized(connection, tree).removeprefix("SELECT ")
        name_expressions(connection, list(query.values()))


def _is_retold(expression: Any) -> bool:
    if isinstance(expression, list):
        return any(map(_is_retold, expression))
    if not isinstance(expression, dict) or expression.get("class") == "STAR":
        return False
    if expression.get("class") == "COLUMN_REF":
        return len(expression["column_names"]) > 2
    return expression.get("class") == "SUBQUERY" or any(map(_is_retold, expression.values()))


def _refuse(tree: Node, text: str) -> None:
    message = tree["error_message"]
    if tree["error_type"] == "not implemented":
        if "Only SELECT" in message:
            hint = "; write PIVOT with IN (…) after FROM" if _PIVOT.search(text) else ""
            raise QueryFailed(f"this is no query: {_ONLY}{hint}")
        raise QueryFailed(message)
    position = tree.get("position")
    raise QueryFailed(marked(f"Parser Error: {message}", text, position and int(position)))
