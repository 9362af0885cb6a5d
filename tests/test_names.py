"""Legal names and paths, and what a path says."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata import InvalidName
from gigapi_metadata.names import (
    check_gigapi_dir,
    check_name,
    check_path,
    check_writer,
    day_of,
    dir_of,
    file_path,
    iteration_of,
    new_id,
)

FORBIDDEN = ":*?[]/\\"


@pytest.mark.parametrize("char", [*FORBIDDEN, *map(chr, range(32)), "\x7f", "\x80", "\x85", "\x9f"])
def test_what_means_something_elsewhere_is_in_no_name(char: str) -> None:
    for name in (char, f"a{char}", f"{char}a", f"a{char}b"):
        with pytest.raises(InvalidName, match="database"):
            check_name("database", name)
        with pytest.raises(InvalidName, match="writer"):
            check_writer(name)


@pytest.mark.parametrize("name", ["", ".", "..", "\ud800", "a\udfff", None, 5, b"a"])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidName):
        check_name("table", name)


@pytest.mark.parametrize(
    "name", ["a", "a.b", "...", "-", " ", "a b", "métriques", "日本", "🗄", "x" * 999, '"', "%"]
)
def test_any_other_text_is_a_name(name: str) -> None:
    assert check_name("layer", name) == name
    assert check_writer(name) == name


def test_a_writer_may_be_nameless_and_nothing_else_may() -> None:
    assert check_writer("") == ""
    with pytest.raises(InvalidName, match="empty"):
        check_name("layer", "")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("/a", "absolute"),
        ("/", "absolute"),
        ("a/", "ends with"),
        ("a//b", "//"),
        ("a\\b", "backslash"),
        ("a/b\0", "control"),
        ("a\n", "control"),
        ("..", "segment"),
        (".", "segment"),
        ("a/../b", "segment"),
        ("../a", "segment"),
        ("a/..", "segment"),
        ("./a", "segment"),
        ("a/./b", "segment"),
        ("a/\ud800", "Unicode"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_and_says_why(path: str, why: str) -> None:
    with pytest.raises(InvalidName, match=re.escape(why)) as caught:
        check_path(path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", [None, 5, b"a/b", ["a"]])
def test_a_path_is_text(path: Any) -> None:
    with pytest.raises(InvalidName):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["a", "..a/b..", "a/...", "a/.b", "a:b*?[c]/d", "ä/日本", "a b/ ", "a/b.c.d"]
)
def test_any_other_path_is_clean(path: str) -> None:
    assert check_path(path) is path


@given(st.text(max_size=12) | st.text("./\\ab\0\n", max_size=12))
def test_a_path_is_clean_or_refused_as_the_rule_says(path: str) -> None:
    clean = (
        path != ""
        and not any(part in ("", ".", "..") for part in path.split("/"))
        and not any(c == "\\" or (unicodedata.category(c) == "Cc" and c < "\x80") for c in path)
        and not any(unicodedata.category(c) == "Cs" for c in path)
    )
    try:
        assert check_path(path) == path
    except InvalidName:
        assert not clean
    else:
        assert clean


@pytest.mark.parametrize("dir", ["", "abcd", "abcde/abcd", "date=1/h=1/whatever", "éé"])
def test_a_dir_that_crashes_gigapi_is_refused(dir: str) -> None:
    with pytest.raises(InvalidName, match="GigAPI"):
        check_gigapi_dir(dir)


@pytest.mark.parametrize(
    "dir", ["abcde", "abcde/abcde", "abcde/abcde/a", "date=2024-01-15/hour=14"]
)
def test_a_dir_that_gigapi_can_read_is_fine(dir: str) -> None:
    check_gigapi_dir(dir)


@pytest.mark.parametrize(
    ("path", "dir", "day", "iteration"),
    [
        ("date=2024-01-15/hour=14/u.1.parquet", "date=2024-01-15/hour=14", "date=2024-01-15", 1),
        ("date=2024-01-15/u.12.parquet", "date=2024-01-15", "date=2024-01-15", 12),
        ("u.3.parquet", "", "", 3),
        ("a/b/c/u.parquet", "a/b/c", "a", 1),
        ("a/u", "a", "a", 1),
        ("a/u.x.parquet", "a", "a", 1),
        ("a/u.-1.parquet", "a", "a", 1),
        ("a/u.٣.parquet", "a", "a", 1),
        ("a/u.1.5.parquet", "a", "a", 5),
        ("a/.2.parquet", "a", "a", 2),
        ("a/2.parquet", "a", "a", 1),
        ("a/u.0.parquet", "a", "a", 0),
        ("a/u.2.parquet.tmp", "a", "a", 1),
        ("a.7.parquet/u", "a.7.parquet", "a.7.parquet", 1),
    ],
)
def test_a_path_tells_its_dir_its_day_and_its_iteration(
    path: str, dir: str, day: str, iteration: int
) -> None:
    assert (dir_of(path), day_of(dir_of(path)), iteration_of(path)) == (dir, day, iteration)


@given(
    st.sampled_from(["", "a", "a/b"]),
    st.text("ab.1", min_size=1, max_size=5),
    st.integers(0, 10**8),
)
def test_a_path_that_was_put_together_comes_apart_again(dir: str, name: str, level: int) -> None:
    path = file_path(dir, name, level)
    assert (dir_of(path), iteration_of(path)) == (dir, level)
    assert path.endswith(f"{name}.{level}.parquet")


def test_ids_are_random_uuids() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", id)
        for id in ids
    )
