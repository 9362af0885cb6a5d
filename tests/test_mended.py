"""What a review of the public interface found: wrong types of arguments, names to annotate with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fix_stores import entry

import gigapi_metadata as gm


@pytest.fixture
def index(tmp_path: Path) -> gm.Index[Any]:
    made = gm.connect(tmp_path / "catalog.db").table("db", "t")
    made.batch([entry(1)])
    return made


class TestWrongTypes:
    @pytest.mark.parametrize("options", [5, 0, {}, {"a": 1}, "2024", []])
    def test_of_query_options(self, index: gm.Index[Any], options: Any) -> None:
        with pytest.raises(gm.InvalidConfiguration, match="options must be QueryOptions, not"):
            index.query(options)

    @pytest.mark.parametrize("bound", ["2024", 1.5, date(2024, 1, 1), True])
    @pytest.mark.parametrize("name", ["after", "before"])
    def test_of_time_bounds(self, index: gm.Index[Any], name: str, bound: Any) -> None:
        for query in (
            lambda: index.query(**{name: bound}),
            lambda: index.query(gm.QueryOptions(**{name: bound})),
        ):
            with pytest.raises(gm.InvalidConfiguration, match="a time bound is a datetime"):
                query()

    @pytest.mark.parametrize("layers", [["hot"], "hot", 5, [{}], [None], gm.Layer("/hot", "hot")])
    def test_of_layers(self, tmp_path: Path, layers: Any) -> None:
        uses: list[Callable[[], object]] = [
            lambda: gm.connect(tmp_path, layers),
            lambda: gm.SQLiteIndex(tmp_path / "c.db", "db", "t", layers),
        ]
        for use in uses:
            with pytest.raises(gm.InvalidConfiguration, match="layers must be a list of Layer"):
                use()

    @pytest.mark.parametrize("rows", [5, gm.MergeConfiguration(1, 1, 1), True])
    def test_of_merge_configurations(self, tmp_path: Path, index: gm.Index[Any], rows: Any) -> None:
        with pytest.raises(gm.InvalidConfiguration, match="merge_configurations must be a list"):
            gm.connect(tmp_path, None, rows)
        with pytest.raises(gm.InvalidConfiguration, match="merge_configurations must be a list"):
            index.merge_configurations = rows

    @pytest.mark.parametrize("entries", [5, True, object()])
    def test_of_batches(self, index: gm.Index[Any], entries: Any) -> None:
        with pytest.raises(gm.InvalidEntry, match="add_entries must be a list of entries, not"):
            index.batch(entries)
        with pytest.raises(gm.InvalidEntry, match="rm_entries must be a list of entries or"):
            index.batch((), entries)
        assert index.get_all() == [entry(1)]

    @pytest.mark.parametrize("url", [5, 1.5, b"lake.db", ["lake.db"]])
    def test_of_urls(self, url: Any) -> None:
        for connect in (gm.connect, gm.connect_async):
            with pytest.raises(gm.InvalidConfiguration, match="URL must be a string or a path"):
                connect(url)


@pytest.mark.parametrize("name", ["Index", "AsyncIndex", "KVStore", "AsyncKVStore", "QueueRef"])
def test_what_users_annotate_with_is_public(name: str) -> None:
    assert name in gm.__all__
    assert getattr(gm, name).__name__ == name


def test_what_a_catalog_gives_is_of_these_types(tmp_path: Path) -> None:
    blocking, awaitable = gm.connect(tmp_path), gm.connect_async(tmp_path)
    assert isinstance(blocking.table("db", "t"), gm.Index)
    assert isinstance(blocking.kv, gm.KVStore)
    assert isinstance(awaitable.table("db", "t"), gm.AsyncIndex)
    assert isinstance(awaitable.kv, gm.AsyncKVStore)
