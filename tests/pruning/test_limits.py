"""SQL that no parser should be given: refused at once, whatever it is quoted in."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gigapi_metadata import InvalidCondition
from gigapi_metadata.pruning import parse_condition
from gigapi_metadata.pruning.limits import MOST_OPEN, fault_of

DEEP = "(" * (MOST_OPEN + 1)


@pytest.mark.parametrize(
    "sql",
    [
        "(" * 5000 + "a = 1",
        "abs(" * 900 + "a" + ")" * 900 + " = 1",
        "(select " * 300 + "1" + ")" * 300 + " = 1",
        "a = " + "9" * 5000,
        "'" + DEEP + "' = " + DEEP,
        "a = 1 " * 2_000_000,
    ],
)
def test_a_condition_that_is_too_much(sql: str) -> None:
    with pytest.raises(InvalidCondition, match=r"can't be parsed: it (is|has|holds)") as raised:
        parse_condition(sql)
    assert len(str(raised.value)) < 300


def test_a_condition_that_goes_on_for_long_without_brackets() -> None:
    for sql in ("not " * 900 + "a = 1", "not " * 5000 + "a = 1", "- " * 5000 + "a = 1"):
        with suppress(InvalidCondition):
            parse_condition(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "(" * MOST_OPEN + "a" + ")" * MOST_OPEN,
        "(a = 1) or " * 1000 + "(a = 2)",
        f"a = '{DEEP}'",
        f"a = 'it''s {DEEP}'",
        f"a = e'it\\'s {DEEP}'",
        f'"{DEEP}""{DEEP}" = 1',
        f"a = $${DEEP}$$",
        f"a = $x$ $$ {DEEP}$x$",
        f"a = 1 -- {DEEP}\n",
        f"a = 1 /* {DEEP} /* {DEEP} */ {DEEP} */",
        f"a = '{'9' * 5000}'",
    ],
)
def test_what_is_quoted_does_not_count(sql: str) -> None:
    assert fault_of(sql) == ""
    assert fault_of(sql + DEEP).startswith("it is nested too deeply") or "$$" in sql


@pytest.mark.parametrize(
    "sql", ["'" + DEEP, '"' + DEEP, "$a$" + DEEP, "/*" + DEEP, "--" + DEEP, "e'\\"]
)
def test_quotes_that_are_not_closed(sql: str) -> None:
    assert fault_of(sql) == ""
