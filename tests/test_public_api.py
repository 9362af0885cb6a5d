"""The public names: all of DESIGN's, and no two lists of them that differ."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gigapi_metadata as gm

DESIGN = [
    "IndexEntry",
    "QueryOptions",
    "Layer",
    "MergeConfiguration",
    "MergePlan",
    "MovePlan",
    "DropPlan",
    "RedisIndex",
    "RedisConnection",
    "RedisIndexEntry",
    "RedisDBIndex",
    "RedisKVStore",
    "AsyncRedisIndex",
    "AsyncRedisConnection",
    "AsyncRedisDBIndex",
    "AsyncRedisKVStore",
    "SQLiteIndex",
    "SQLiteDBIndex",
    "SQLiteKVStore",
    "AsyncSQLiteIndex",
    "AsyncSQLiteDBIndex",
    "AsyncSQLiteKVStore",
    "connect",
    "connect_async",
    "MetadataError",
    "InvalidEntry",
    "InvalidName",
    "UnknownLayer",
    "LeaseLost",
    "Conflict",
    "StoreError",
    "Unavailable",
    "OutcomeUnknown",
    "CorruptState",
]

VERBS = [
    "batch",
    "get",
    "query",
    "get_all",
    "get_merge_plan",
    "end_merge",
    "get_move_plan",
    "end_move",
    "get_drop_queue",
    "rm_from_drop_queue",
    "complete_merge",
    "complete_move",
    "renew",
    "release",
    "merge_configurations",
    "connection",
    "close",
]


@pytest.mark.parametrize("name", DESIGN)
def test_every_name_of_the_design_is_importable(name: str) -> None:
    assert getattr(gm, name).__name__ == name
    assert name in gm.__all__


def test_one_list_of_names_is_the_other() -> None:
    assert set(gm.__all__) == set(gm._HOME)
    assert list(gm.__all__) == sorted(gm.__all__)
    assert set(dir(gm)) >= set(gm.__all__)
    for name in gm.__all__:
        home = importlib.import_module(f"gigapi_metadata.{gm._HOME[name]}")
        assert getattr(home, name) is getattr(gm, name)


def test_type_checkers_are_told_the_same_names() -> None:
    tree = ast.parse(Path(gm.__file__).read_text())
    told = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gigapi_metadata")
        for alias in node.names
    }
    assert told == {name: f"gigapi_metadata.{home}" for name, home in gm._HOME.items()}


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        gm.no_such_name  # noqa: B018
    with pytest.raises(ImportError):
        exec("from gigapi_metadata import no_such_name")


def test_a_star_brings_all_of_them() -> None:
    program = (
        "from gigapi_metadata import *; import gigapi_metadata as g; [eval(n) for n in g.__all__]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_name_has_a_docstring() -> None:
    bare = [name for name in gm.__all__ if not inspect.getdoc(getattr(gm, name))]
    assert not bare


BLOCKING_ONLY = {"to_duckdb"}  # a relation reads rows when it is asked to: it can't be awaited


@pytest.mark.parametrize("kind", ["Index", "DBIndex", "KVStore", "Connection"])
@pytest.mark.parametrize("store", ["Redis", "SQLite"])
def test_sync_and_async_classes_have_the_same_methods_and_parameters(store: str, kind: str) -> None:
    sync, awaitable = getattr(gm, store + kind), getattr(gm, f"Async{store}{kind}")

    def public(made: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(made)
            if not name.startswith("_") and callable(member)
        }

    alone = BLOCKING_ONLY if kind == "Index" else set()
    assert public(sync) == public(awaitable) | {name: public(sync)[name] for name in alone}
    assert not alone & set(public(awaitable))
    constructor = [inspect.signature(made.__init__).parameters for made in (sync, awaitable)]
    assert list(constructor[0]) == list(constructor[1])
    for made, enter in ((sync, "__enter__"), (awaitable, "__aenter__")):
        assert hasattr(made, enter)
        assert hasattr(made, "close")
    # `submit` gives a future at once, and an iterator is waited for entry by entry.
    at_once = {"submit"} & set(public(awaitable))
    for name in set(public(awaitable)) - at_once:
        member = getattr(awaitable, name)
        assert inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member), name


@pytest.mark.parametrize("store", ["Redis", "SQLite"])
def test_every_store_has_the_same_verbs(store: str) -> None:
    index = getattr(gm, f"{store}Index")
    missing = [verb for verb in VERBS if verb != "connection" and not hasattr(index, verb)]
    assert not missing


def test_errors_are_one_tree_and_their_docstring_draws_it() -> None:
    from gigapi_metadata import errors

    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, gm.MetadataError)
        assert name in drawn
    assert {gm.Unavailable, gm.OutcomeUnknown, gm.CorruptState} == set(
        gm.StoreError.__subclasses__()
    )
