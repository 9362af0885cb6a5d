"""The key-value store: raw bytes under any key that the caller names."""

from __future__ import annotations

from typing import Any

import pytest
from fix_stores import Backend, OpenIndex, entry

from gigapi_metadata import InvalidName, MetadataError

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize("value", [b"", b"\0", EVERY_BYTE, b"x" * 2_000_000])
def test_a_value_comes_back_byte_for_byte(backend: Backend, value: bytes) -> None:
    values = backend.values()
    values.put("key", value)
    assert values.get("key") == value
    assert backend.values().get("key") == value


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_whatever_is_bytes_is_kept_as_bytes(backend: Backend, kind: Any) -> None:
    values = backend.values()
    values.put("key", kind(EVERY_BYTE))
    assert values.get("key") == EVERY_BYTE


@pytest.mark.parametrize(
    "key",
    [
        "k",
        "a:b",
        "a*b",
        "a?[x]",
        " ",
        "ключ",
        "🔑",
        "a/b\\c",
        "a\nb",
        "a\0b",
        "x" * 10_000,
        "folders",
        "mergeX",
    ],
)
def test_any_text_is_a_key(backend: Backend, key: str) -> None:
    values = backend.values()
    assert values.get(key) is None
    values.put(key, b"1")
    values.put(key + "x", b"2")
    assert values.get(key) == b"1"
    values.put(key, b"3")
    assert values.get(key) == b"3"
    values.delete(key)
    assert values.get(key) is None
    assert values.get(key + "x") == b"2"
    values.delete(key)


@pytest.mark.parametrize("key", ["", None, b"key", 5, "\ud800"])
def test_what_is_no_text_is_no_key(backend: Backend, key: Any) -> None:
    values = backend.values()
    for call in (values.get, values.delete, lambda key: values.put(key, b"")):
        with pytest.raises(InvalidName):
            call(key)


@pytest.mark.parametrize("value", [None, "text", 5])
def test_a_value_is_bytes(backend: Backend, value: Any) -> None:
    values = backend.values()
    with pytest.raises(MetadataError):
        values.put("key", value)
    assert values.get("key") is None


@pytest.mark.parametrize(
    "key",
    [
        "files:db:t:date=2027-01-15",
        "folders:db:t",
        "merge:x",
        "move:x",
        "drop:x",
        "gigapi-metadata:x",
    ],
)
def test_the_catalogs_own_keys_are_out_of_reach(
    open_index: OpenIndex, backend: Backend, key: str
) -> None:
    index, values = open_index(), backend.values()
    index.batch([entry(1)])
    if backend.is_redis:
        before = backend.dump()
        for call in (values.get, values.delete, lambda key: values.put(key, b"")):
            with pytest.raises(InvalidName):
                call(key)
        assert backend.dump() == before
    else:
        values.put(key, b"1")
        assert values.get(key) == b"1"
    assert index.get_all() == [entry(1)]
    assert backend.databases().databases() == ["db"]


def test_values_are_no_tables(backend: Backend) -> None:
    backend.values().put("key", b"1")
    assert backend.databases().databases() == []
