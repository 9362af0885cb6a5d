"""What raised OutcomeUnknown is repeated: by the same call, a larger one, in parts, hours later."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from fix_redis import RedisServer
from fix_stores import Blocking, entry, path_of
from wire import Cut, Proxy, proxy

from gigapi_metadata import (
    AsyncRedisIndex,
    LeaseLost,
    OutcomeUnknown,
    RedisIndex,
    Unavailable,
)
from gigapi_metadata.stores.redis import attempts
from gigapi_metadata.stores.redis.keys import OWN
from gigapi_metadata.stores.redis.scripts import (
    COMMIT,
    LEASE,
    RELEASE,
    RENEW,
    SETTLE,
    Script,
)
from gigapi_metadata.stores.redis.session import RECEIPT_S, REPEATABLE_S

ROWS = [[0, 150, 1]]  # each file is a plan of its own


class Desk:
    """A client whose answers can be lost, and one to look with."""

    def __init__(self, server: RedisServer, line: Proxy, loop: Any) -> None:
        url = f"redis://127.0.0.1:{line.port}"
        self.line, self.server = line, server
        self.look = RedisIndex(server.url(), "db", "t", merge_configurations=ROWS)
        made = (RedisIndex if loop is None else AsyncRedisIndex)(
            url, "db", "t", merge_configurations=ROWS
        )
        self.index: Any = made if loop is None else Blocking(made, loop)
        self.look.connection.load_scripts()
        self.index.batch([entry(9)])

    def close(self) -> None:
        self.index.close()
        self.look.close()

    def lose(self, call: Callable[[], Any], script: Script, where: Cut = "after") -> None:
        """Make a call whose script is carried out ("after") or never arrives; no answer comes."""
        self.cut(script, where)
        with pytest.raises(OutcomeUnknown, match="Repeating the same call is safe"):
            call()
        self.line.cut_always(None)

    def cut(self, script: Script, where: Cut) -> None:
        self.line._marker = script.sha.encode()
        self.line.cut_always(where)

    def merge(self, *numbers: int, index: Any = None) -> list[str]:
        """Merge these files, each alone; the results' paths."""
        index = index or self.look
        results, others = [], []
        while len(results) < len(numbers):
            plan = index.get_merge_plan("", "", 1)
            assert plan is not None
            if plan.paths_from[0] in [path_of(number) for number in numbers]:
                index.complete_merge(plan, entry(path=plan.path_to))
                results.append(plan.path_to)
            else:
                others.append(plan)
        for plan in others:
            index.release(plan)
        return results

    def is_there(self, *numbers: int, also: list[str]) -> None:
        """Exactly these files are, each planned once if it is none of `also`."""
        there = sorted([path_of(n) for n in numbers] + also)
        assert sorted(each.path for each in self.look.get_all()) == there
        planned = [
            path for plan in self.look.plans() if plan.kind == "merge" for path in plan.paths
        ]
        assert len(planned) == len(set(planned))
        with self.server.client() as client:
            assert sum(map(int, client.hgetall("folders:db:t").values())) == len(there)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RETRY_PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture(params=["sync", "async"])
def desk(
    request: pytest.FixtureRequest,
    new_redis_server: Callable[..., RedisServer],
    background_loop: asyncio.AbstractEventLoop,
) -> Iterator[Desk]:
    server = new_redis_server()
    with proxy(server.port) as line:
        made = Desk(server, line, background_loop if request.param == "async" else None)
        yield made
        made.close()


def outcomes(*futures: Any) -> list[Any]:
    return [future.exception(30) or future.result() for future in futures]


# Files


def test_submitted_changes_are_repeated_among_others(desk: Desk) -> None:
    index = desk.index
    desk.cut(COMMIT, "after")
    first = outcomes(*(index.submit([entry(n)]) for n in (1, 2, 3)))
    assert [type(each) for each in first] == [OutcomeUnknown] * 3
    desk.line.cut_always(None)
    # Some that were gathered were sent, and made; later ones may wait for their turn.
    results = desk.merge(1, 2)
    assert outcomes(index.submit([entry(4)]), index.submit([entry(1)])) == [0, 0]
    assert outcomes(*(index.submit([entry(n)]) for n in (5, 3, 2, 6))) == [0] * 4
    desk.is_there(3, 4, 5, 6, 9, also=results)


def test_submitted_changes_that_never_arrived_are_made(desk: Desk) -> None:
    desk.cut(COMMIT, "before")
    first = outcomes(*(desk.index.submit([entry(n)]) for n in (1, 2, 3)))
    assert [type(each) for each in first] == [OutcomeUnknown] * 3
    desk.line.cut_always(None)
    assert outcomes(desk.index.submit([entry(4)]), desk.index.submit([entry(1)])) == [0, 0]
    desk.is_there(1, 4, 9, also=[])
    assert outcomes(*(desk.index.submit([entry(n)]) for n in (3, 2))) == [0, 0]
    desk.is_there(1, 2, 3, 4, 9, also=[])


def test_a_batch_that_has_grown(desk: Desk) -> None:
    """As of somebody who keeps what is not acknowledged, and adds to it."""
    desk.lose(lambda: desk.index.batch([entry(1), entry(2)]), COMMIT)
    results = desk.merge(1)
    desk.lose(lambda: desk.index.batch([entry(1), entry(2), entry(3)]), COMMIT)
    results += desk.merge(3)
    desk.index.batch([entry(n) for n in (1, 2, 3, 4)])
    desk.is_there(2, 4, 9, also=results)


def test_a_batch_in_parts(desk: Desk) -> None:
    desk.lose(lambda: desk.index.batch([entry(1), entry(2)], [path_of(9)]), COMMIT)
    results = desk.merge(1, 2)
    for add, remove in (([entry(2)], None), ([entry(1)], None), (None, [path_of(9)])):
        desk.index.batch(add, remove)
    desk.is_there(also=results)
    desk.index.batch([entry(1)])  # a further call is a write of its own
    desk.is_there(1, also=results)


def test_a_part_that_is_repeated_makes_no_other(desk: Desk) -> None:
    """Whoever asked for the rest may have given it up, and deleted the file."""
    desk.lose(lambda: desk.index.batch([entry(1), entry(2)]), COMMIT, "before")
    desk.index.batch([entry(1)])
    desk.is_there(1, 9, also=[])


def test_a_repetition_that_fails_is_repeated(desk: Desk) -> None:
    desk.lose(lambda: desk.index.batch([entry(1)]), COMMIT)
    results = desk.merge(1)
    both = [entry(1), entry(2)]
    wheres: tuple[Cut, ...] = ("before", "after")
    for script in (SETTLE, COMMIT):
        for where in wheres:
            desk.lose(lambda: desk.index.batch(both), script, where)
    results += desk.merge(2)
    desk.index.batch(both)
    desk.is_there(9, also=results)


def test_who_goes_on_is_not_held_to_what_was(desk: Desk) -> None:
    """Another entry for the same path is a new write; so is adding what was removed since."""
    desk.lose(lambda: desk.index.batch([entry(1), entry(2)]), COMMIT)
    desk.index.batch([entry(1, size_bytes=7)], [path_of(2)])
    found = desk.look.get(path_of(1))
    assert found is not None
    assert found.size_bytes == 7
    desk.index.batch([entry(1), entry(2)])
    assert desk.look.get_all() == [entry(1), entry(2), entry(9)]


def test_a_merge_by_the_same_client_is_no_second_thought(desk: Desk) -> None:
    """A service that runs its worker on its own connection."""
    desk.lose(lambda: desk.index.batch([entry(1)]), COMMIT)
    results = desk.merge(1, index=desk.index)
    desk.index.batch([entry(1)])
    desk.is_there(9, also=results)


def test_it_can_be_repeated_for_hours(desk: Desk) -> None:
    desk.lose(lambda: desk.index.batch([entry(1), entry(2)]), COMMIT)
    results = desk.merge(1)
    with desk.server.client() as client:
        lives = [client.ttl(key) for key in client.scan_iter(f"{OWN}:receipt:db:t:*")]
    assert max(lives) > REPEATABLE_S, "the server forgets it before the client does"
    unsettled = desk.index.connection.session.unsettled
    unsettled.clock = lambda: time.monotonic() + REPEATABLE_S - 60
    desk.index.batch([entry(1)])
    desk.is_there(2, 9, also=results)
    unsettled.clock = lambda: time.monotonic() + REPEATABLE_S
    desk.merge(2)
    desk.index.batch([entry(2)])
    assert desk.look.get(path_of(2)) is not None, "forgotten: a write of its own"
    assert not unsettled
    assert RECEIPT_S > REPEATABLE_S


async def test_a_call_that_was_given_up_is_repeated(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    """Cancelled, by a timeout of the caller's: nobody knows what became of it."""
    server = new_redis_server()
    async with AsyncRedisIndex(server.url(), "db", "t", merge_configurations=ROWS) as index:
        await index.batch([entry(9)])
        server.pause()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(index.batch([entry(1)]), 0.05)
        server.resume()
        with RedisIndex(server.url(), "db", "t", merge_configurations=ROWS) as look:
            while look.get(path_of(1)) is None:  # it was on its way, and arrives
                await asyncio.sleep(0.01)
            plan = look.get_merge_plan("", "", 1)
            while plan is not None and plan.paths_from != [path_of(1)]:
                plan = look.get_merge_plan("", "", 1)
            assert plan is not None
            look.complete_merge(plan, entry(path=plan.path_to))
            await index.batch([entry(1)])
            assert sorted(each.path for each in look.get_all()) == sorted(
                [plan.path_to, path_of(9)]
            )


# Plans


def test_a_renewal_is_repeated(desk: Desk) -> None:
    plan = desk.index.get_merge_plan("", "", 1, lease_s=100)
    for seconds, where in ((1000, "after"), (2000, "after"), (3000, "before")):
        desk.lose(lambda seconds=seconds: desk.index.renew(plan, lease_s=seconds), RENEW, where)
    renewed = desk.index.renew(plan, lease_s=4000)
    (held,) = desk.look.plans()
    assert (held.state, held.due_s) == ("leased", renewed.lease_s)
    assert renewed.lease_s >= plan.lease_s + 3900
    desk.index.complete_merge(renewed, entry(path=plan.path_to))
    desk.is_there(also=[plan.path_to])


@pytest.mark.parametrize("where", ["before", "after"])
def test_after_a_lost_renewal_the_plan_is_ended_as_it_was(desk: Desk, where: Cut) -> None:
    plan = desk.index.get_merge_plan("", "", 1)
    desk.lose(lambda: desk.index.renew(plan, lease_s=4000), RENEW, where)
    desk.lose(lambda: desk.index.complete_merge(plan, entry(path=plan.path_to)), COMMIT, where)
    for _ in range(2):
        desk.index.complete_merge(plan, entry(path=plan.path_to))
    desk.is_there(also=[plan.path_to])
    with pytest.raises(LeaseLost):
        desk.index.renew(plan)


def test_a_lost_renewal_that_made_nothing_longer(desk: Desk) -> None:
    plan = desk.index.get_merge_plan("", "", 1, lease_s=3000)
    desk.lose(lambda: desk.index.renew(plan, lease_s=100), RENEW)
    assert desk.index.renew(plan, lease_s=100) == plan


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("delay_s", [0, 1000])
def test_giving_back_is_repeated(desk: Desk, where: Cut, delay_s: int) -> None:
    plan = desk.index.get_merge_plan("", "", 1)
    desk.lose(lambda: desk.index.renew(plan, lease_s=4000), RENEW, where)
    desk.lose(lambda: desk.index.release(plan, "why", delay_s=delay_s), RELEASE, where)
    desk.index.release(plan, "why", delay_s=delay_s)
    (waiting,) = desk.look.plans()
    assert (waiting.state, waiting.attempts, waiting.error) == ("waiting", 1, "why")
    with pytest.raises(LeaseLost):
        desk.index.release(plan, "why")
    assert desk.look.plans() == [waiting]


def test_giving_back_what_somebody_else_has_by_now(desk: Desk) -> None:
    """It was given back, and is held by another when that is repeated: it stays his."""
    plan = desk.index.get_merge_plan("", "", 1)
    desk.lose(lambda: desk.index.release(plan), RELEASE)
    taken = desk.look.get_merge_plan("", "", 1)
    desk.index.release(plan)
    assert taken is not None
    desk.look.complete_merge(taken, entry(path=taken.path_to))


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_lease_nobody_knows_of_goes_to_who_asked(desk: Desk, where: Cut) -> None:
    desk.index.batch([entry(8)])
    desk.lose(lambda: desk.index.get_merge_plans("", "", 1, limit=2), LEASE, where)
    states = {each.state for each in desk.look.plans()}
    assert states == ({"leased"} if where == "after" else {"waiting"})
    plans = desk.index.get_merge_plans("", "", 1, limit=2)
    assert sorted(plan.paths_from[0] for plan in plans) == [path_of(8), path_of(9)]
    assert [plan.attempts for plan in plans] == [0, 0]
    for plan in plans:
        desk.index.complete_merge(plan, entry(path=plan.path_to))
    desk.is_there(also=[plan.path_to for plan in plans])


def test_a_lease_nobody_knows_of_is_no_one_elses_until_it_ends(desk: Desk) -> None:
    desk.lose(lambda: desk.index.get_merge_plan("", "", 1), LEASE)
    assert desk.look.get_merge_plan("", "", 1) is None
    # It has ended, was taken over, and is left to its holder.
    with desk.server.client() as client:
        (queue,) = client.scan_iter("merge:*:processing")
        item = client.lindex(queue, 0)
        head, found, rest = item.partition(b'"time_s":')
        client.lset(queue, 0, head + found + b"1" + rest[10:])
    taken = desk.look.get_merge_plan("", "", 1, lease_s=5000)
    assert taken is not None
    assert desk.index.get_merge_plan("", "", 1) is None
    desk.look.complete_merge(taken, entry(path=taken.path_to))


def test_unknown_stays_unknown_until_it_is_known(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    """Not "unavailable, nothing was written": the first attempt may have been."""
    server = new_redis_server()
    with proxy(server.port) as line:
        desk = Desk(server, line, None)
        desk.lose(lambda: desk.index.batch([entry(1)]), COMMIT)
        perform = desk.index.connection.perform

        def is_away(request: Any) -> Any:
            raise Unavailable("can't be reached")

        desk.index.connection.perform = is_away
        with pytest.raises(OutcomeUnknown, match="an earlier write may have happened"):
            desk.index.batch([entry(1), entry(2)])
        with pytest.raises(Unavailable):
            desk.index.batch([entry(3)])
        desk.index.connection.perform = perform
        desk.index.batch([entry(1), entry(2)])
        desk.is_there(1, 2, 9, also=[])
        desk.close()


def test_while_the_server_is_away_nothing_is_forgotten(desk: Desk) -> None:
    desk.lose(lambda: desk.index.batch([entry(1)]), COMMIT)
    results = desk.merge(1)
    plan = desk.index.get_merge_plan("", "", 1)
    desk.lose(lambda: desk.index.renew(plan, lease_s=4000), RENEW)
    desk.cut(SETTLE, "before")
    for call in (
        lambda: desk.index.batch([entry(1)]),
        lambda: desk.index.renew(plan),
        lambda: desk.index.release(plan),
    ):
        with pytest.raises(OutcomeUnknown):
            call()
    desk.line.cut_always(None)
    desk.index.batch([entry(1)])
    desk.index.release(plan)
    desk.is_there(9, also=results)


# Everything at once


class Ingester:
    """Keeps what was not acknowledged and sends it again, in whatever company; a worker merges
    meanwhile, now on the same connection, now on another. The line breaks at random."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk, self.draw = desk, random.Random(seed)
        self.open = {path_of(number): entry(number) for number in range(100, 140)}
        self.made_of: dict[str, set[str]] = {}

    def send(self) -> None:
        some = self.draw.sample(sorted(self.open), min(len(self.open), self.draw.randint(1, 6)))
        self._break()
        if self.draw.random() < 0.5:
            futures = [self.desk.index.submit([self.open[path]]) for path in some]
            for path, outcome in zip(some, outcomes(*futures), strict=True):
                self._take(outcome, [path])
            return
        try:
            self._take(self.desk.index.batch([self.open[path] for path in some]), some)
        except (OutcomeUnknown, Unavailable) as fault:
            self._take(fault, some)

    def _take(self, outcome: Any, paths: list[str]) -> None:
        if outcome == 0:
            for path in paths:
                del self.open[path]
        else:
            assert isinstance(outcome, OutcomeUnknown | Unavailable)

    def merge(self) -> None:
        index = self.draw.choice([self.desk.index, self.desk.look])
        plan = self._until_answered(lambda: index.get_merge_plan("", "", 1))
        if plan is None:
            return
        if self.draw.random() < 0.5:
            self._break()
            with suppress(OutcomeUnknown, Unavailable):  # then it goes on under the plan it has
                plan = index.renew(plan, lease_s=5000)
        if self.draw.random() < 0.2:
            self._until_answered(lambda: index.release(plan))
            return
        self._until_answered(lambda: index.complete_merge(plan, entry(path=plan.path_to)))
        self.made_of[plan.path_to] = set(plan.paths_from)

    def _until_answered(self, call: Callable[[], Any]) -> Any:
        while True:
            self._break()
            try:
                return call()
            except (OutcomeUnknown, Unavailable):
                pass

    def _break(self) -> None:
        wheres: tuple[Cut, ...] = ("before", "after")
        self.desk.line.cut(self.draw.choice(wheres), self.draw.choice([0, 0, 1, 4, 4, 5]))

    def run(self) -> None:
        for _ in range(70):
            self.draw.choice([self.send, self.merge])() if self.open else self.merge()
        while self.open:
            self.send()


def test_whatever_is_repeated_counts_once(desk: Desk, seed: int) -> None:
    desk.line._marker = b"EVAL"
    ingester = Ingester(desk, seed)
    ingester.run()
    holders = Counter(
        path
        for each in desk.look.get_all()
        for path in ingester.made_of.get(each.path, {each.path})
    )
    every = {path_of(9), *(path_of(number) for number in range(100, 140))}
    assert holders == dict.fromkeys(every, 1), f"seed {seed}"
