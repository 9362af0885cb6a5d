"""A write that reaches the server twice is carried out once, whichever it is; and what is kept for
that goes again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from fix_stores import entry, path_of

from gigapi_metadata import OutcomeUnknown, RedisIndex
from gigapi_metadata.stores.redis.scripts import Call
from gigapi_metadata.stores.redis.session import Receipts
from gigapi_metadata.stores.redis.wire import How, aexchange, exchange

ROWS = [[0, 150, 1]]  # each file is a plan of its own


@pytest.fixture
def index(redis_url: str) -> Iterator[RedisIndex]:
    with RedisIndex(redis_url, "db", "t", merge_configurations=ROWS, drop_grace_s=0) as made:
        yield made


@pytest.fixture
def calls(index: RedisIndex, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The writing calls of `index`, as they are made."""
    made: list[Call] = []
    perform = index.connection.perform

    def noted(request: Any) -> Any:
        if isinstance(request, Call) and request.writes and request.script.receipt:
            made.append(request)
        return perform(request)

    monkeypatch.setattr(index.connection, "perform", noted)
    return made


def complete(index: RedisIndex) -> None:
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    index.complete_merge(plan, entry(path=plan.path_to))


WRITES: dict[str, Callable[[RedisIndex], Any]] = {
    "batch": lambda index: index.batch([entry(2)], [path_of(1)]),
    "lease": lambda index: index.get_merge_plan("", "", 1),
    "renew": lambda index: index.renew(index.get_merge_plan("", "", 1)),
    "release": lambda index: index.release(index.get_merge_plan("", "", 1), "why"),
    "complete": complete,
    "retry": lambda index: index.retry(index.plans()[0]),
    "import": lambda index: index.import_plans(index.plans()),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_arrives_twice(
    index: RedisIndex, calls: list[Call], redis_url: str, write: str
) -> None:
    index.batch([entry(1)])
    WRITES[write](index)
    last = calls[-1]
    with redis.Redis.from_url(redis_url) as client:
        receipt = client.get(last.keys[0])
        assert receipt is not None
        before = dump(client)
        answers = [index.connection.perform(last) for _ in range(2)]
        assert dump(client) == before
    answer = answers[0][0] if isinstance(answers[0], list) else answers[0]
    assert answers[0] == answers[1]
    assert answer != b"LOST"
    assert receipt.endswith(answer if isinstance(answer, bytes) else b"%d" % answer)


def dump(client: redis.Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter() if b":receipt:" not in key}


def test_what_is_kept_of_a_plan_goes_with_it(index: RedisIndex, redis_url: str) -> None:
    index.batch([entry(1), entry(2)])
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(2):
            plan = index.get_merge_plan("", "", 1)
            assert plan is not None
            index.release(plan, "why")
            assert client.hlen("gigapi-metadata:attempts:db:t") == 1
            complete(index)
        assert client.hlen("gigapi-metadata:attempts:db:t") == 0
        marks = "gigapi-metadata:dropping:db:t"
        drops = 0
        while (drop := index.get_drop_queue("", "")) is not None:
            drops += 1
            client.zadd(marks, {f":{drop.path}": 10**10})  # as if it had been leased ahead of time
            index.rm_from_drop_queue(drop)
            assert client.zcard(marks) == 0
        assert drops == 2


def test_the_slot_of_a_write_that_was_settled_is_not_used_again(
    index: RedisIndex, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    index.batch([entry(1)])
    perform = index.connection.perform

    def lose(request: Any) -> Any:
        perform(request)
        raise OutcomeUnknown("lost")

    with monkeypatch.context() as patch:
        patch.setattr(index.connection, "perform", lose)
        with pytest.raises(OutcomeUnknown):
            index.batch([entry(2)])
    unknown = calls[-1].keys[0]
    index.batch([entry(2)])
    assert calls[-1].keys[0] == unknown, "settled by its receipt"
    for number in range(3, 6):
        index.batch([entry(number)])
        assert calls[-1].keys[0] != unknown


def test_a_fork_has_slots_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = Receipts()
    parents = receipts.take()
    receipts.give_back(parents.client, parents.slot, "receipt", reusable=True)
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    mine = receipts.take()
    assert mine.client != parents.client
    receipts.give_back(parents.client, 7, "receipt", reusable=True)
    assert receipts.take().slot not in (7, mine.slot), "the parent's is not the child's to use"


class Line:
    """A pool of one connection, which ends a call in a way of its own."""

    def __init__(self, fault: BaseException) -> None:
        self.fault = fault
        self.done: list[str] = []
        self.connection_pool = self

    def get_connection(self) -> Any:
        return self

    def send_packed_command(self, parts: Iterator[bytes]) -> None:
        list(parts)

    def read_response(self, **_: Any) -> Any:
        raise self.fault

    def disconnect(self, **_: Any) -> None:
        self.done.append("closed")

    def release(self, _: Any) -> None:
        self.done.append("given back")


class AsyncLine(Line):
    async def get_connection(self) -> Any:  # type: ignore[override]
        return self

    async def send_packed_command(self, parts: Iterator[bytes]) -> None:  # type: ignore[override]
        list(parts)

    async def read_response(self, **_: Any) -> Any:  # type: ignore[override]
        raise self.fault

    async def disconnect(self, **_: Any) -> None:  # type: ignore[override]
        self.done.append("closed")

    async def release(self, _: Any) -> None:  # type: ignore[override]
        self.done.append("given back")


FAULTS = [
    redis.TimeoutError("no answer"),
    redis.ConnectionError("gone"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_that_may_still_come_is_not_taken_for_the_next(
    index: RedisIndex, calls: list[Call], fault: BaseException
) -> None:
    index.batch([entry(1)])
    request = calls[-1]
    line, async_line = Line(fault), AsyncLine(fault)
    with pytest.raises(type(fault)):
        exchange(line, request, How(direct=True))
    with pytest.raises(type(fault)):
        await aexchange(async_line, request, How(direct=True))
    assert line.done == async_line.done == ["closed", "given back"]
    answered = Line(redis.ResponseError("no"))
    with pytest.raises(redis.ResponseError):
        exchange(answered, request, How(direct=True))
    assert answered.done == ["given back"], "it was an answer"
