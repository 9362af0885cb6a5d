"""What SQL text may ask of a parser. Pure.

DuckDB's parser takes memory with the square of the parentheses that are open (3 GB for 5,000 of
them), and Python's own recursion has an end, so text that nests deeper than people write is refused
before either sees it.
"""

from __future__ import annotations

import re

MOST_OPEN = 200
"""So many parentheses and brackets may be open at a time."""

MOST_DIGITS = 1000
"""Of one number. Python refuses to read more than 4,300."""

MOST_CHARACTERS = 10_000_000

TOO_DEEP = "it is nested too deeply"

_TOKEN = re.compile(
    r"""
    (?P<text> [eE]'(?:[^'\\]|\\.|'')*'?
            | '[^']*(?:''[^']*)*'?
            | "[^"]*(?:""[^"]*)*"?
            | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)
            | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<number> [0-9][0-9_]* )
    | (?P<open> [(\[{] )
    | (?P<close> [)\]}] )
    | \w+
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")


def fault_of(sql: str) -> str:
    """Why `sql` is not to be parsed, said of "it"; "" if it may be."""
    if len(sql) > MOST_CHARACTERS:
        return f"it has {len(sql):,} characters; up to {MOST_CHARACTERS:,} are possible"
    depth = position = 0
    while found := _TOKEN.search(sql, position):
        position = found.end()
        if found["comment"]:
            position = _after_comment(sql, position)
        elif found["number"] and len(found[0]) > MOST_DIGITS:
            return f"it holds a number of over {MOST_DIGITS} digits"
        elif found["open"]:
            depth += 1
            if depth > MOST_OPEN:
                return f"{TOO_DEEP}: over {MOST_OPEN} parentheses are open at a time"
        elif found["close"]:
            depth = max(depth - 1, 0)
    return ""


def _after_comment(sql: str, position: int) -> int:
    depth = 1
    while depth and (found := _COMMENT.search(sql, position)):
        position = found.end()
        depth += 1 if found[0] == "/*" else -1
    return len(sql) if depth else position
