"""Where in the user's text an error is that DuckDB found in the text we made of it.

The two texts have the same tree. The place is looked up in the tree of ours, and the same node of
the user's tells where that is. Only errors pay for this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gigapi_metadata.sql.plan import Plan
from gigapi_metadata.sql.syntax import Node, serialized

_Way = tuple[str | int, ...]


def position_in_query(connection: Any, plan: Plan, position: int) -> int | None:
    """The byte of the user's text that byte `position` of `plan.sql` stands for; None when it can't
    be told."""
    place = _in_short(plan, position) - len(plan.statement.explain)
    ours = serialized(connection, plan.short.removeprefix(plan.statement.explain))
    if ours["error"]:
        return None
    theirs = serialized(connection, plan.statement.text)
    for way, found in _places(ours, ()):
        if found == place:
            original = _at(theirs, way)
            if original is not None:
                return original
    return None


def _in_short(plan: Plan, position: int) -> int:
    """The place in `plan.short`, in bytes."""
    rest, text = position, plan.sql.encode()
    shift = 0
    for token, call in plan.tokens.items():
        at = text.find(call.encode())
        if at < 0 or at > rest:
            continue
        shift += min(rest - at, len(call.encode())) - min(rest - at, len(token.encode()))
    return position - shift


def _places(value: Any, way: _Way) -> Iterator[tuple[_Way, int]]:
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from _places(each, (*way, number))
    elif isinstance(value, dict):
        if isinstance(value.get("query_location"), int):
            yield way, value["query_location"]
        for key, each in value.items():
            yield from _places(each, (*way, key))


def _at(tree: Node, way: _Way) -> int | None:
    value: Any = tree
    try:
        for step in way:
            value = value[step]
        found = value["query_location"]
    except (KeyError, IndexError, TypeError):
        return None
    return found if isinstance(found, int) else None
