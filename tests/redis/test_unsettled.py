"""The memory of writes whose outcome is unknown, by itself."""

from __future__ import annotations

import pytest

from gigapi_metadata.stores.redis import unsettled
from gigapi_metadata.stores.redis.unsettled import Ticket, Unsettled, Write


def ticket(slot: int, at: float = 0) -> Ticket:
    return Ticket("client", slot, "token", at)


def memory() -> Unsettled:
    return Unsettled(10, clock=lambda: 5)


def test_the_last_write_about_a_thing_is_known() -> None:
    known = memory()
    assert not known
    known.add({("file", 1): "a", ("file", 2): "b"}, ticket(7))
    known.add({("file", 2): "c"}, ticket(8))
    assert known.find([("file", 1), ("file", 2), ("file", 3)]) == {
        ("file", 1): Write("a", ticket(7)),
        ("file", 2): Write("c", ticket(8)),
    }


def test_things_and_writes_are_forgotten() -> None:
    known = memory()
    known.add({("file", n): None for n in range(4)}, ticket(7))
    known.add({("file", 9): None}, ticket(8))
    known.forget([("file", 0), ("file", 5)])
    assert len(known.find([("file", n) for n in range(10)])) == 4
    known.forget_write(ticket(7))
    assert list(known.find([("file", n) for n in range(10)])) == [("file", 9)]
    known.forget([("file", 9)])
    assert not known


def test_it_is_forgotten_in_time() -> None:
    now = [10.0]
    known = Unsettled(10, clock=lambda: now[0])
    known.add({("file", 1): None}, ticket(1))
    known.add({("file", 2): None}, ticket(2, at=5))
    now[0] = 10.5
    assert list(known.find([("file", 1), ("file", 2)])) == [("file", 2)]
    now[0] = 15.5
    known.find([])
    assert not known


def test_it_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsettled, "REMEMBERED", 3)
    known = memory()
    for number in range(5):
        known.add({("file", number): None}, ticket(number))
    everything = [("file", number) for number in range(100)]
    assert list(known.find(everything)) == [("file", 2), ("file", 3), ("file", 4)]
    known.add(dict.fromkeys(everything[10:60]), ticket(99))
    assert list(known.find(everything)) == everything[10:60], "the last write, whole"
