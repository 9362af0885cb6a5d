"""What no server of ours answers, and what nobody of ours has stored: one clear error each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
import redis
from fix_stores import entry, path_of

from gigapi_metadata import (
    CorruptState,
    RedisDBIndex,
    RedisIndex,
    RedisKVStore,
    StoreError,
)

ANSWERS = {
    "simple": b"+OK\r\n",
    "integer": b":7\r\n",
    "nil": b"$-1\r\n",
    "text": b"$2\r\n[]\r\n",
    "no items": b"*0\r\n",
    "numbers": b"*2\r\n:1\r\n:2\r\n",
    "nils": b"*1\r\n$-1\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "cell": b"*3\r\n$2\r\nOK\r\n$20\r\ndate=2024-01-01/hour\r\n$5\r\nxxxxx\r\n",
}
CALLS: dict[str, Callable[[str, RedisIndex], Any]] = {
    "batch": lambda _, index: index.batch([entry(1)]),
    "get": lambda _, index: index.get(path_of(1)),
    "query": lambda _, index: index.query(after=1, before=entry(1).max_time),
    "get_all": lambda _, index: index.get_all(),
    "iter_query": lambda _, index: list(index.iter_query()),
    "query_arrow": lambda _, index: index.query_arrow(),
    "lease": lambda _, index: index.get_merge_plan("", "", 1),
    "plans": lambda _, index: index.plans(),
    "paths": lambda _, index: index.paths(),
    "databases": lambda url, _: RedisDBIndex(url).databases(),
    "value": lambda url, _: RedisKVStore(url).get("a"),
}


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives one answer to whatever it is asked."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    def talk(client: socket.socket) -> None:
        with suppress(OSError), client:
            while data := client.recv(65536):
                greetings = data.count(b"SETINFO") + data.count(b"SETNAME")
                client.sendall(b"+OK\r\n" * greetings or answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0?socket_timeout=0.1"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_server_that_answers_nonsense(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigapi_metadata.stores.redis.attempts.RETRY_PAUSES_S", (0.001,))
    with answering(ANSWERS[answer]) as url, RedisIndex(url, "db", "t") as index:
        for call in CALLS.values():
            with suppress(StoreError):
                call(url, index)


def test_an_item_of_a_queue_that_is_no_utf_8(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    with client, RedisIndex(redis_url, "db", "t", merge_configurations=[[0, 150, 1]]) as index:
        index.batch([entry(1)])
        [queue] = client.keys("merge:*:idle")
        item = client.lindex(queue, 0)
        client.lset(queue, 0, item.replace(b'"id":"', b'"id":"\xff'))
        with pytest.raises(CorruptState, match=r"merge queue of db\.t"):
            index.get_merge_plan("", "", 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("str_min_time", "-170406720000170406720000000"),
        ("str_max_time", str(2**63)),
        ("str_chunk_time", "9" * 40),
        ("size_bytes", 10**30),
        ("row_count", -(10**25)),
    ],
)
@pytest.mark.parametrize("call", ["get", "get_all", "query", "iter_query", "query_arrow"])
def test_a_number_beyond_64_bits(redis_url: str, call: str, field: str, value: Any) -> None:
    client = redis.Redis.from_url(redis_url)
    with client, RedisIndex(redis_url, "db", "t") as index:
        index.batch([entry(1), entry(2)])
        [key] = client.keys("files:db:t:*")
        document = msgspec.json.decode(client.hget(key, path_of(1)))
        client.hset(key, path_of(1), msgspec.json.encode({**document, field: value}))
        with pytest.raises(CorruptState, match="files:db:t:date=2027-01-15"):
            CALLS[call](redis_url, index)


def test_a_time_that_was_rounded_beyond_64_bits(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    with client, RedisIndex(redis_url, "db", "t") as index:
        index.batch([entry(1, max_time=2**63 - 1)])
        [key] = client.keys("files:db:t:*")
        document = msgspec.json.decode(client.hget(key, path_of(1)))
        document |= {"str_max_time": "", "max_time": float(2**63)}
        client.hset(key, path_of(1), msgspec.json.encode(document))
        assert [each.max_time for each in index.get_all()] == [2**63 - 1]
