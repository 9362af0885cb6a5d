"""Databases, tables and folders appear with their first file and vanish with their last."""

from __future__ import annotations

import pytest
from fix_stores import Backend, OpenIndex, entry, path_of

from gigapi_metadata import InvalidName, Layer


def test_an_empty_catalog_names_nothing(open_index: OpenIndex, backend: Backend) -> None:
    names = backend.databases()
    assert names.databases() == []
    assert names.tables("db") == []
    assert names.paths("db", "t") == []
    assert open_index().paths() == []
    assert open_index().get_all() == []
    assert open_index().plans() == []


def test_names_appear_with_the_first_file_and_vanish_with_the_last(
    open_index: OpenIndex, backend: Backend
) -> None:
    names = backend.databases()
    one, other = open_index("b", "t2"), open_index("a", "t1")
    one.batch([entry(n, database="b", table="t2") for n in (1, 2)])
    other.batch([entry(3, database="a", table="t1")])
    assert names.databases() == ["a", "b"]
    assert names.tables("b") == ["t2"]
    assert names.tables("c") == []
    assert names.paths("b", "t2") == ["date=2027-01-15/hour=08"]
    one.batch(None, [path_of(1)])
    assert names.databases() == ["a", "b"]
    one.batch(None, [path_of(2)])
    assert names.databases() == ["a"]
    assert names.tables("b") == []
    assert names.paths("b", "t2") == []


def test_folders_are_counted_file_by_file(open_index: OpenIndex) -> None:
    index = open_index()
    dirs = ["date=2027-01-15/hour=08", "date=2027-01-15/hour=09", "date=2027-01-16/hour=00"]
    files = {dir: [entry(path=path_of(n, dir=dir)) for n in range(3)] for dir in dirs}
    index.batch([each for group in files.values() for each in group])
    assert index.paths() == dirs
    for left in (2, 1, 0):
        index.batch(None, [files[dirs[1]].pop()])
        assert index.paths() == ([dirs[0], dirs[2]] if not left else dirs)


def test_names_that_are_patterns_elsewhere_are_taken_literally(
    open_index: OpenIndex, backend: Backend
) -> None:
    names = backend.databases()
    odd = ["a^b", "a-b", "a%b", "a_b", "a'b", 'a"b', "a b", "a.b", "a{b}", "a;b", "a$b"]
    for name in odd:
        open_index(name, name).batch([entry(database=name, table=name)])
    assert names.databases() == sorted(odd)
    for name in odd:
        assert names.tables(name) == [name]
        assert names.paths(name, name) == ["date=2027-01-15/hour=08"]
        assert len(open_index(name, name).plans()) == 1
    assert names.tables("axb") == []


@pytest.mark.parametrize(
    "name", ["", "a:b", "a*", "a?", "[a", "a]", "a/b", "a\\b", "a\nb", "..", "\ud800"]
)
def test_bad_names_are_refused_everywhere(
    open_index: OpenIndex, backend: Backend, name: str
) -> None:
    names = backend.databases()
    with pytest.raises(InvalidName):
        open_index(name, "t")
    with pytest.raises(InvalidName):
        open_index("db", name)
    with pytest.raises(InvalidName):
        names.tables(name)
    with pytest.raises(InvalidName):
        names.paths("db", name)
    if name:
        with pytest.raises(InvalidName):
            open_index().get_merge_plan(name, "", 1)


def test_one_batch_counts_a_folder_across_layers_writers_and_levels(
    open_index: OpenIndex,
) -> None:
    layers = [Layer("file:///hot", "hot"), Layer("file:///cold", "cold")]
    index = open_index(layers=layers)
    batch = [
        entry(1, layer="hot"),
        entry(2, layer="cold"),
        entry(3, layer="hot", writer_id="w"),
        entry(layer="hot", path=path_of(4, 2)),
    ]
    index.batch(batch)
    for removed in batch[:-1]:
        index.batch(None, [removed])
    assert index.paths() == ["date=2027-01-15/hour=08"]
    assert index.get_all() == batch[-1:], "a folder that is not counted is not found"
    index.batch(None, batch)
    assert index.paths() == []


def test_one_batch_may_add_to_a_folder_what_it_takes_from_it(open_index: OpenIndex) -> None:
    index = open_index()
    index.batch([entry(1), entry(2)])
    index.batch([entry(3)], [entry(1), entry(2)])
    assert index.paths() == ["date=2027-01-15/hour=08"]
    assert index.get_all() == [entry(3)]
    index.batch([entry(3)], [entry(3)])
    assert index.paths() == []
