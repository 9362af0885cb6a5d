"""The memory of writes whose outcome is unknown, by itself."""

from __future__ import annotations

from fix_stores import entry, path_of

from gigapi_metadata.stores.base import Change, TableRef
from gigapi_metadata.stores.redis import unsettled
from gigapi_metadata.stores.redis.unsettled import Ticket, Unsettled

TABLE, OTHER = TableRef("db", "t"), TableRef("db", "other")


def adding(*numbers: int) -> Change:
    return Change([entry(number) for number in numbers])


def ticket(slot: int, at: float = 0) -> Ticket:
    return Ticket("client", slot, "token", at)


def test_the_same_change_of_the_same_table_is_known_once() -> None:
    memory = Unsettled(10, clock=lambda: 5)
    memory.add(TABLE, adding(1, 2), ticket(7))
    assert memory.take(OTHER, adding(1, 2)) is None
    assert memory.take(TABLE, adding(3)) is None
    assert memory.take(TABLE, adding(1, 2)) == ticket(7)
    assert memory.take(TABLE, adding(1, 2)) is None


def test_another_change_of_one_of_its_files_makes_it_forgotten() -> None:
    for other in (adding(2), Change([], [path_of(2)]), adding(1, 2, 3)):
        memory = Unsettled(10, clock=lambda: 5)
        memory.add(TABLE, adding(1, 2), ticket(7))
        assert memory.take(TABLE, other) is None
        assert memory.take(TABLE, adding(1, 2)) is None


def test_it_is_forgotten_in_time() -> None:
    now = [10.0]
    memory = Unsettled(10, clock=lambda: now[0])
    memory.add(TABLE, adding(1), ticket(1))
    memory.add(TABLE, adding(2), ticket(2, at=5))
    now[0] = 10.5
    assert memory.take(TABLE, adding(1)) is None
    assert memory.take(TABLE, adding(2)) == ticket(2, at=5)


def test_it_does_not_grow_without_end() -> None:
    memory = Unsettled(10, clock=lambda: 5)
    for number in range(unsettled.REMEMBERED + 1):
        memory.add(TABLE, adding(number), ticket(number))
    assert memory.take(TABLE, adding(0)) is None
    assert memory.take(TABLE, adding(1)) == ticket(1)
    large = Change([], [path_of(1000 + n) for n in range(unsettled.REMEMBERED_FILES)])
    memory.add(TABLE, large, ticket(99))
    assert memory.take(TABLE, adding(2)) is None
    assert memory.take(TABLE, large) == ticket(99)
