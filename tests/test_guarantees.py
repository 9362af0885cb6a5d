"""docs/guarantees.md names tests that exist, and each promise names one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("|") and not re.match(r"\| (promise|---)", line)
]


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests in a file; those of a class as Class::name."""
    tree = ast.parse((ROOT / file).read_text())
    found = set()
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        head = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {
            head + each.name
            for each in inside
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }
    return frozenset(found)


@pytest.mark.parametrize("row", ROWS)
def test_a_promise_names_tests_that_exist(row: str) -> None:
    promise, named = row.strip("| ").split(" | ")
    tests = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", named)
    assert promise
    assert tests, "a promise without a test"
    assert len(tests) == named.count("`") // 2
    for file, name in tests:
        assert name in names_in(file), f"{file} has no {name}"


def test_there_are_promises() -> None:
    assert len(ROWS) > 20
