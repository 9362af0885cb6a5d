"""Servers of a test's own, for tests that are parametrized over more than the kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fix_redis import RedisServer, Source, _present


@contextmanager
def server_of(source: Source | None, *extra_args: str) -> Iterator[RedisServer]:
    """A new server of this kind, closed at the end."""
    made = RedisServer(_present(source), *extra_args)
    try:
        yield made
    finally:
        made.close()
