"""Several clients of one table, whose calls the machine interleaves, equal the model of one.

Two blocking indexes, an asyncio one, on Redis also one that loses answers and a foreign writer. The
table's rules are those of tests/contract/test_against_model.py, which this adds clients to.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import test_against_model as alone
from fault_line import Fault, FaultLine, fault_line
from fix_redis import RedisPool, RedisServer, redis_params
from fix_stores import (
    Backend,
    JSONBackend,
    RedisBackend,
    SQLiteBackend,
    scripts_with_test_clock,
)
from go_like import GoLike
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from gigapi_metadata import IndexEntry, OutcomeUnknown, RedisIndex
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis import attempts, keys

EXAMPLES = 6
SOAK_EXAMPLES = 150
REPEATED = ("batch", "renew", "release", "complete_merge", "complete_move", "end_merge", "end_move")


class Foreign(GoLike):
    """GigAPI on the machine's clock, with ids of its own: its mishaps have tests elsewhere."""

    def __init__(self, backend: RedisBackend, draw: random.Random) -> None:
        rows = alone.ROWS
        super().__init__(backend.client, alone.LAYERS, rows, database="db", table="t")
        self._backend = backend
        self._random = draw  # ids must differ from call to call

    def now(self) -> int:
        return self._backend.now_s

    def draw(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


class Place:
    """Where clients come from: a backend, a loop for the asyncio one, a line that loses answers."""

    def __init__(
        self, backend: Backend, loop: asyncio.AbstractEventLoop, line: FaultLine | None
    ) -> None:
        self.backend, self._loop, self._line = backend, loop, line

    def clients(self) -> list[Any]:
        options: dict[str, Any] = {"layers": alone.LAYERS, "merge_configurations": alone.ROWS}
        made = []
        for loop in (None, None, self._loop):
            self.backend.loop = loop
            made.append(self.backend.index(**options))
        self.backend.loop = None
        if self._line is not None:
            url = f"redis://127.0.0.1:{self._line.port}"
            made.append(self.backend._keep(RedisIndex(url, "db", "t", **options)))
        return made

    def call(self, verb: Any, last: bool, draw: random.Random, *args: Any, **options: Any) -> Any:
        """Make a call. The answer to the last client's is lost; it asks again by itself, or if it
        gets no answer at all, its caller does."""
        if last and self._line is not None:
            if verb.__name__ in REPEATED and draw.random() < 0.5:
                self._line.mute = True
                try:
                    return verb(*args, **options)  # needs no answer: nothing to do, or refused
                except OutcomeUnknown:
                    pass
                finally:
                    self._line.mute = False
            self._line.arm(Fault("cut", "reply", 0))
        return verb(*args, **options)


class Turns:
    """An index whose every call is another client's: whose is drawn."""

    def __init__(self, place: Place, draw: random.Random) -> None:
        self._place, self._draw = place, draw
        self._clients = place.clients()

    def __getattr__(self, name: str) -> Any:
        number = self._draw.randrange(len(self._clients))
        verb = getattr(self._clients[number], name)
        last = number == len(self._clients) - 1
        return lambda *args, **options: self._place.call(verb, last, self._draw, *args, **options)


class Crowd(alone.Catalog):
    place: Place

    @initialize(seed=st.integers(0, 2**32))
    def invite(self, seed: int) -> None:
        self.index = Turns(self.place, random.Random(seed))

    @precondition(lambda self: self.backend.is_redis)
    @rule(add=alone.some_entries)
    def another_program_adds(self, add: list[IndexEntry]) -> None:
        new = {each.path: each for each in add if each.path not in self.model.entries}
        Foreign(self.backend, self.index._draw).add(*new.values())
        self.model.batch(new.values(), [])

    @precondition(lambda self: self.backend.is_redis and self.model.entries)
    @rule(data=st.data())
    def another_program_removes(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.model.entries)))
        Foreign(self.backend, self.index._draw).remove(self.model.entries[path])
        self.model.batch([], [path])

    @invariant()
    def plans_are_equal(self) -> None:
        self._notice_foreign_queues()
        super().plans_are_equal()

    def _notice_foreign_queues(self) -> None:
        """A lease finds them by the folders that have files, in its own time: what it does and does
        not find of a folder that was emptied before is no matter of the model's."""
        if self.backend.is_redis:
            for place in self.model.queues:
                if place.kind == "merge":
                    of = (place.iteration, place.layer, place.writer_id)
                    ready = keys.ready(TableRef("db", "t"), *of)
                    self.backend.client.zadd(ready, {place.dir: 0}, nx=True)


def places() -> list[Any]:
    return [
        pytest.param(("sqlite", None), id="sqlite"),
        pytest.param(("json", None), id="json"),
        *(
            pytest.param(("redis", kind.values[0]), id=kind.id)
            for kind in redis_params(private=True)
        ),
    ]


@pytest.fixture(params=places())
def place(
    request: pytest.FixtureRequest,
    redis_pool: RedisPool,
    background_loop: asyncio.AbstractEventLoop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    kind, source = request.param
    monkeypatch.setattr(attempts, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))
    with ExitStack() as stack:
        made: RedisBackend | SQLiteBackend | JSONBackend
        line = None
        if kind == "redis":
            stack.enter_context(scripts_with_test_clock())
            server = redis_pool.get(source)
            assert isinstance(server, RedisServer)
            line = stack.enter_context(fault_line(server.port))
            made = RedisBackend(server, None)
        else:
            made = (SQLiteBackend if kind == "sqlite" else JSONBackend)(tmp_path, None)
        stack.callback(made.end)
        yield Place(made, background_loop, line)


def run(place: Place, examples: int) -> None:
    machine = type("Crowd", (Crowd,), {"backend": place.backend, "place": place})
    alone.run_machine(machine, examples)


def test_several_clients_equal_the_model(place: Place) -> None:
    run(place, EXAMPLES)


@pytest.mark.soak
def test_several_clients_equal_the_model_for_long(place: Place) -> None:
    run(place, SOAK_EXAMPLES)
