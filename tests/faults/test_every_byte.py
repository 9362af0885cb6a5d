"""A connection that breaks, stalls, splits or repeats at every byte of a write and of its answer.

Acknowledged: done, once. Not acknowledged: repeating the call settles it. Never half, never twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from fault_checks import check_invariants, paths_of
from fault_line import KINDS, Fault, FaultLine, Kind, Side, fault_line
from fault_servers import server_of
from fix_redis import RedisServer, redis_params
from fix_stores import Blocking, entry, path_of

from gigapi_metadata import (
    AsyncRedisIndex,
    Layer,
    OutcomeUnknown,
    RedisIndex,
    Unavailable,
)
from gigapi_metadata.stores.redis import attempts
from gigapi_metadata.stores.redis.session import REPEATABLE_S

ROWS = [[0, 150, 1]]  # each file is a plan of its own
TIMEOUT_S = 0.03
ENOUGH = 100


class Trial:
    """A table, a client whose traffic goes through the line, and one to look with."""

    def __init__(
        self, server: RedisServer, line: FaultLine, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.server, self.line = server, line
        self.fault = Fault("split", "request", 10**9)
        self.look = RedisIndex(server.url(), "db", "t", merge_configurations=ROWS)
        options: Any = {"merge_configurations": ROWS}
        url = f"redis://127.0.0.1:{line.port}?socket_timeout={TIMEOUT_S}"
        self.index: Any
        self.layered: Any
        if loop is None:
            self.index = RedisIndex(url, "db", "t", **options)
            self.layered = RedisIndex(self.index.connection, "db", "t", LAYERS, ROWS)
        else:
            made = AsyncRedisIndex(url, "db", "t", **options)
            self.index = Blocking(made, loop)
            layered = AsyncRedisIndex(made.connection, "db", "t", LAYERS, ROWS)
            self.layered = Blocking(layered, loop)

    def close(self) -> None:
        self.index.close()
        self.look.close()

    def prepare(self) -> None:
        """Files 8 and 9, on an empty server; the client is connected."""
        with self.server.client() as client:
            client.flushall()
        self.look.batch([entry(8), entry(9)])
        self.line.release()
        self.again(lambda: self.index.get(path_of(8)))

    def settle(self, call: Callable[[], Any]) -> Any:
        """Make the call under the fault; after an error that leaves its outcome open, again."""
        self.line.arm(self.fault)
        answer = self.again(call)
        self.line.release()  # what was held back arrives now
        return answer

    def again(self, call: Callable[[], Any]) -> Any:
        for _ in range(ENOUGH):
            with suppress(OutcomeUnknown, Unavailable):
                return call()
        raise AssertionError(f"never answered, with {self.fault}")


Verb = Callable[[Trial, str], Callable[[], None]]


def batch(trial: Trial, note: str) -> Callable[[], None]:
    """Add two files and remove one."""
    trial.prepare()
    trial.settle(lambda: trial.index.batch([entry(1), entry(2)], [entry(8)]))

    def check() -> None:
        entries = check_invariants(trial.look, note)
        assert entries == [entry(1), entry(2), entry(9)], note
        # The removed file's plan stays until it is due; it has nothing to do.
        plans = sorted((plan.kind, plan.paths) for plan in trial.look.plans())
        assert plans == [
            ("drop", [path_of(8)]),
            *(("merge", [path_of(n)]) for n in (1, 2, 8, 9)),
        ], note

    return check


def completion(trial: Trial, note: str) -> Callable[[], None]:
    """Complete a merge."""
    trial.prepare()
    plan = trial.look.get_merge_plan("", "", 1)
    assert plan is not None
    trial.settle(lambda: trial.index.complete_merge(plan, entry(1, path=plan.path_to)))

    def check() -> None:
        (left,) = {path_of(8), path_of(9)} - set(plan.paths_from)
        assert paths_of(check_invariants(trial.look, note)) == sorted([plan.path_to, left]), note
        plans = sorted((each.kind, each.paths) for each in trial.look.plans())
        assert plans == [("drop", plan.paths_from), ("merge", [left])], note

    return check


def lease(trial: Trial, note: str) -> Callable[[], None]:
    """Be handed a plan. One whose answer never came is leased all the same, to nobody."""
    trial.prepare()
    plan = trial.settle(lambda: trial.index.get_merge_plan("", "", 1))

    def check() -> None:
        check_invariants(trial.look, note)
        states = sorted(each.state for each in trial.look.plans())
        assert states in (["leased", "waiting"], ["leased", "leased"]), note
        assert plan is not None or states == ["leased", "leased"]

    return check


def renewal(trial: Trial, note: str) -> Callable[[], None]:
    """Make a lease longer."""
    trial.prepare()
    plan = trial.look.get_merge_plan("", "", 1)
    assert plan is not None
    renewed = trial.settle(lambda: trial.index.renew(plan, lease_s=5000))
    assert renewed.lease_s > plan.lease_s + 3000, note

    def check() -> None:
        held = [each.due_s for each in trial.look.plans() if each.state == "leased"]
        assert held == [renewed.lease_s], note
        trial.look.complete_merge(renewed, entry(path=plan.path_to))

    return check


def giving_back(trial: Trial, note: str) -> Callable[[], None]:
    """Give a plan back with an error."""
    trial.prepare()
    plan = trial.look.get_merge_plan("", "", 1)
    assert plan is not None
    trial.settle(lambda: trial.index.release(plan, "why"))

    def check() -> None:
        plans = trial.look.plans()
        assert [each.state for each in plans] == ["waiting", "waiting"], note
        assert sorted(each.attempts for each in plans) == [0, 1], note

    return check


def submission(trial: Trial, note: str) -> Callable[[], None]:
    """Submit two changes, which are made in one commit."""
    trial.prepare()

    def submit() -> None:
        changes = [trial.index.submit([entry(1)]), trial.index.submit([entry(2)], [entry(8)])]
        faults = [each.exception(60) for each in changes]
        for fault in filter(None, faults):
            raise fault

    trial.settle(submit)

    def check() -> None:
        assert check_invariants(trial.look, note) == [entry(1), entry(2), entry(9)], note

    return check


LAYERS = [Layer("file:///hot", "hot", ttl_sec=1), Layer("file:///cold", "cold")]


def moving(trial: Trial, note: str) -> Callable[[], None]:
    """Complete a move."""
    trial.prepare()
    with trial.server.client() as client:
        client.flushall()  # its files are in no layer
    look = RedisIndex(trial.look.connection, "db", "t", LAYERS, ROWS)
    old = entry(1, path=path_of(1, 2), layer="hot", chunk_time=1)
    look.batch([old])
    plan = look.get_move_plan("", "hot")
    assert plan is not None
    moved = msgspec.structs.replace(old, path=plan.path_to, layer="cold")
    trial.settle(lambda: trial.layered.complete_move(plan, moved))

    def check() -> None:
        found = check_invariants(look, note)
        assert [each.layer for each in found] == ["cold"], note
        assert paths_of(found) == [plan.path_to], note
        assert [each.paths for each in look.plans() if each.kind == "drop"] == [[old.path]], note

    return check


def reading(read: Callable[[Any], Sequence[str]]) -> Verb:
    """Read what is there: whole, or not at all."""

    def verb(trial: Trial, note: str) -> Callable[[], None]:
        trial.prepare()
        found = trial.settle(lambda: read(trial.index))

        def check() -> None:
            assert sorted(found) == [path_of(8), path_of(9)], note

        return check

    return verb


READS: dict[str, Verb] = {
    "query": reading(
        lambda index: paths_of(index.query(after=entry(1).min_time, before=entry(9).max_time))
    ),
    "iter_query": reading(lambda index: paths_of(index.iter_query(size=1))),
    "query_arrow": reading(lambda index: index.query_arrow().column("path").to_pylist()),
}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))


def clients() -> list[Any]:
    """Blocking on every kind of server, asyncio on one."""
    servers = redis_params(private=True)
    return [
        pytest.param((each.values[0], mode), id=f"{each.id}-{mode}")
        for mode, kinds in (("sync", servers), ("async", servers[:1]))
        for each in kinds
    ]


@pytest.fixture(params=clients())
def trial(
    request: pytest.FixtureRequest, background_loop: asyncio.AbstractEventLoop
) -> Iterator[Trial]:
    source, mode = request.param
    with server_of(source) as server, fault_line(server.port) as line:
        made = Trial(server, line, background_loop if mode == "async" else None)
        yield made
        made.close()


VERBS = [batch, completion, lease, renewal, giving_back]
MORE = [
    pytest.param(submission, id="submission"),
    pytest.param(moving, id="moving"),
    *(pytest.param(verb, id=name) for name, verb in READS.items()),
]


def length(trial: Trial, verb: Verb, side: Side) -> int:
    """How many bytes of a verb go that way."""
    trial.fault = Fault("split", side, 10**9)
    for _ in range(2):  # the first one makes the scripts known, and asks for the server's health
        verb(trial, "no fault")()
    return trial.line.passed[side]


def try_at(trial: Trial, verb: Verb, fault: Fault, seed: int) -> bool:
    trial.fault = fault
    note = f"{fault}, seed {seed}"
    verb(trial, note)()
    return trial.line.fired


@pytest.mark.parametrize("verb", VERBS)
def test_faults_at_some_bytes(trial: Trial, verb: Verb, seed: int) -> None:
    """At the first and last bytes, and at some drawn."""
    draw = random.Random(f"{seed}/{verb.__name__}")
    for kind, side in KINDS:
        size = length(trial, verb, side)
        some = {0, 1, size - 1, size, *draw.sample(range(size), min(size, 8))}
        fired = [try_at(trial, verb, Fault(kind, side, at), seed) for at in sorted(some)]
        assert any(fired)


@pytest.mark.parametrize("verb", MORE)
def test_faults_at_few_bytes(trial: Trial, verb: Verb, seed: int) -> None:
    """One byte of each request and answer, and the last."""
    draw = random.Random(seed)
    sizes = {side: length(trial, verb, side) for side in ("request", "reply")}
    fired = [
        try_at(trial, verb, Fault(kind, side, at), seed)
        for kind, side in KINDS
        for at in (draw.randrange(sizes[side]), sizes[side] - 1)
    ]
    assert any(fired)


@pytest.mark.soak
@pytest.mark.parametrize(("kind", "side"), KINDS)
@pytest.mark.parametrize("verb", [*VERBS, *MORE])
def test_faults_at_every_byte(trial: Trial, verb: Verb, kind: Kind, side: Side, seed: int) -> None:
    size = length(trial, verb, side)
    fired = [try_at(trial, verb, Fault(kind, side, at), seed) for at in range(size + 1)]
    assert sum(fired) >= size - 5  # ids and times may be a digit shorter


def test_what_arrives_late_is_not_made_again(trial: Trial) -> None:
    """The client gives up waiting, sends again, is answered, and goes on; then the first request
    arrives. What it did long ago is not done to what has come since."""
    trial.prepare()
    size = length(trial, batch, "request")
    trial.prepare()
    trial.fault = Fault("delay", "request", size // 2)
    trial.line.arm(trial.fault)
    trial.again(lambda: trial.index.batch([entry(1), entry(2)], [entry(8)]))
    assert trial.line.fired
    for _ in range(3):
        trial.again(lambda: trial.index.batch([entry(8), entry(5)]))
        trial.again(lambda: trial.index.batch(None, [entry(1)]))
    trial.line.release()
    assert paths_of(trial.look.get_all()) == [path_of(n) for n in (2, 5, 8, 9)]


def unknown(trial: Trial, call: Callable[[], Any]) -> None:
    """Make a call that is carried out, and whose answer never comes."""
    trial.line.mute = True
    with pytest.raises(OutcomeUnknown):
        call()
    trial.line.mute = False


def merged(trial: Trial, *numbers: int) -> str:
    """Merge these files, as another client does."""
    while True:
        plan = trial.look.get_merge_plan("", "", 1)
        assert plan is not None
        if plan.paths_from == [path_of(number) for number in numbers]:
            trial.look.complete_merge(plan, entry(path=plan.path_to))
            return plan.path_to


def test_repeating_brings_no_merged_file_back(trial: Trial) -> None:
    """The rows of a file that was merged since are in the result; the file itself is gone."""
    trial.prepare()
    unknown(trial, lambda: trial.index.batch([entry(1), entry(2)]))
    result = merged(trial, 1)
    expected = sorted([result, *(path_of(n) for n in (2, 8, 9))])
    trial.again(lambda: trial.index.batch([entry(1), entry(2)]))
    assert paths_of(check_invariants(trial.look)) == expected
    # A further call is a write of its own.
    trial.again(lambda: trial.index.batch([entry(1), entry(2)]))
    assert paths_of(trial.look.get_all()) == sorted([path_of(1), *expected])


def test_who_goes_on_after_an_unknown_outcome_repeats_nothing(trial: Trial) -> None:
    trial.prepare()
    unknown(trial, lambda: trial.index.batch(None, [path_of(8)]))
    trial.again(lambda: trial.index.batch([entry(8)]))
    trial.again(lambda: trial.index.batch(None, [path_of(8)]))
    assert paths_of(trial.look.get_all()) == [path_of(9)]


def test_a_write_of_unknown_outcome_is_forgotten_in_time(trial: Trial) -> None:
    """Before its receipt is: what comes later is a write of its own."""
    trial.prepare()
    unknown(trial, lambda: trial.index.batch([entry(1)]))
    result = merged(trial, 1)
    trial.index.connection.session.unsettled.clock = lambda: time.monotonic() + REPEATABLE_S
    trial.again(lambda: trial.index.batch([entry(1)]))
    assert paths_of(trial.look.get_all()) == sorted([path_of(1), path_of(8), path_of(9), result])
