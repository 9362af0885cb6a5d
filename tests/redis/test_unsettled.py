"""The memory of writes whose outcome is unknown, by itself."""

from __future__ import annotations

from fix_stores import entry, path_of

from gigapi_metadata.stores.base import Change, TableRef
from gigapi_metadata.stores.redis import unsettled
from gigapi_metadata.stores.redis.unsettled import Earlier, Ticket, Unsettled

TABLE, OTHER = TableRef("db", "t"), TableRef("db", "other")


def adding(*numbers: int) -> Change:
    return Change([entry(number) for number in numbers])


def ticket(slot: int, at: float = 0) -> Ticket:
    return Ticket("client", slot, "token", at)


def same(slot: int, at: float = 0) -> Earlier:
    return Earlier(ticket(slot, at))


NONE = Earlier()


def test_the_same_change_of_the_same_table_is_known_once() -> None:
    memory = Unsettled(10, clock=lambda: 5)
    memory.add(TABLE, adding(1, 2), ticket(7))
    assert memory.knows(TABLE, adding(2, 3))
    assert not memory.knows(OTHER, adding(2, 3))
    assert not memory.knows(TABLE, adding(3))
    assert memory.take(OTHER, adding(1, 2)) == NONE
    assert memory.take(TABLE, adding(3)) == NONE
    assert memory.take(TABLE, adding(1, 2)) == same(7)
    assert memory.take(TABLE, adding(1, 2)) == NONE


def test_another_change_of_one_of_its_files_makes_it_forgotten() -> None:
    others = (Change([entry(2, size_bytes=9)]), Change([], [path_of(2)]), adding(1, 2, 3))
    for other in others:
        memory = Unsettled(10, clock=lambda: 5)
        memory.add(TABLE, adding(1, 2), ticket(7))
        assert memory.take(TABLE, other) == NONE
        assert memory.take(TABLE, adding(1, 2)) == NONE


def test_each_part_of_a_change_is_known_once() -> None:
    memory = Unsettled(10, clock=lambda: 5)
    memory.add(TABLE, Change([entry(1), entry(2)], [path_of(3)]), ticket(7))
    part = Earlier(None, (ticket(7),))
    assert memory.take(TABLE, adding(1)) == part
    assert memory.take(TABLE, adding(1)) == NONE
    assert memory.take(TABLE, Change([], [path_of(3)])) == part
    assert memory.take(TABLE, adding(2)) == part
    assert memory.take(TABLE, adding(2)) == NONE


def test_a_part_that_is_not_settled_either_is_known_by_both() -> None:
    memory = Unsettled(10, clock=lambda: 12)
    memory.add(TABLE, adding(1, 2, 3), ticket(7, at=4))
    earlier = memory.take(TABLE, adding(1, 2))
    memory.add(TABLE, adding(1, 2), ticket(8, at=11), earlier.parts_of)
    assert memory.take(TABLE, adding(1)) == Earlier(None, (ticket(7, at=4), ticket(8, at=11)))
    memory.add(TABLE, adding(2), ticket(9, at=11), (ticket(7, at=4),))
    memory.clock = lambda: 14.5
    assert memory.take(TABLE, adding(2)) == NONE, "the receipt of the first is about to go"


def test_it_is_forgotten_in_time() -> None:
    now = [10.0]
    memory = Unsettled(10, clock=lambda: now[0])
    memory.add(TABLE, adding(1), ticket(1))
    memory.add(TABLE, adding(2), ticket(2, at=5))
    now[0] = 10.5
    assert memory.take(TABLE, adding(1)) == NONE
    assert memory.take(TABLE, adding(2)) == same(2, at=5)


def test_it_does_not_grow_without_end() -> None:
    memory = Unsettled(10, clock=lambda: 5)
    for number in range(unsettled.REMEMBERED + 1):
        memory.add(TABLE, adding(number), ticket(number))
    assert memory.take(TABLE, adding(0)) == NONE
    assert memory.take(TABLE, adding(1)) == same(1)
    large = Change([], [path_of(1000 + n) for n in range(unsettled.REMEMBERED_FILES)])
    memory.add(TABLE, large, ticket(99))
    assert memory.take(TABLE, adding(2)) == NONE
    assert memory.take(TABLE, large) == same(99)
