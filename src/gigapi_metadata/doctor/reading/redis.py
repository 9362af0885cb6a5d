"""Asks a server about itself. Read-only; what it refuses to say is noted, never an error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from redis.exceptions import AuthenticationError, ClusterDownError, ResponseError

from gigapi_metadata.doctor.redis_facts import Growth, Member, RedisFacts
from gigapi_metadata.errors import StoreError, Unavailable
from gigapi_metadata.stores.base import TableRef
from gigapi_metadata.stores.redis import keys
from gigapi_metadata.stores.redis.connection import RedisConnection
from gigapi_metadata.stores.redis.scripts import FILTER, Call, Command, Pipeline

SETTINGS = (
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "save",
    "min-replicas-to-write",
    "maxmemory-policy",
)
PINGS = 21
SCAN_S = 2.0
"""How long to look for yesterday's keys."""

SCAN_COUNT = "1000"
SAMPLES = "64"
_DAY_S = 86_400

NOWHERE = TableRef("gigapi-doctor", "probe")
"""A table that is not there."""


class Reader:
    """Asks, and keeps a list of what was refused and why."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self.refused: dict[str, str] = {}

    def ask(self, what: str, request: Call | Command | Pipeline) -> Any:
        """The answer; None when the server does not want to give it.

        Raises:
            StoreError: there is no server to ask, or it refuses the login.
        """
        try:
            return self._connection.perform(request)
        except StoreError as fault:
            cause = fault.__cause__ or fault
            if isinstance(cause, ClusterDownError):
                return None  # a fault of the cluster, not of this server
            refusal = isinstance(cause, ResponseError) or not isinstance(fault, Unavailable)
            if isinstance(cause, AuthenticationError) or not refusal:
                raise
            # Behind that come the arguments, which may be binary.
            self.refused[what] = " ".join(str(cause).partition(", with args")[0].split())
            return None


def read(
    connection: RedisConnection, url: str, nowhere: TableRef, member: Member = ""
) -> RedisFacts:
    """All facts of the server that `connection` leads to. Takes some 30 round trips and up to
    SCAN_S seconds. `url`: as it was given for the catalog. `nowhere`: a table that is not there,
    whose keys the server may be asked for; a replica's are not its own.

    Raises:
        StoreError: the server can't be reached, or refuses the login.
    """
    reader = Reader(connection)
    info = reader.ask("INFO", Command(("INFO",))) or {}
    skew_s, within_s = _skew(reader)
    scheme = url.partition("://")[0].lower().partition("+")[0]
    user, password = _login(connection.target.url)
    return RedisFacts(
        info={name: _text(value) for name, value in info.items()},
        config=_config(reader),
        script=None if member == "replica" else _script(reader, nowhere),
        pings_ms=_pings(reader),
        skew_s=skew_s,
        skew_within_s=within_s,
        growth=None if member == "replica" else _growth(reader, time.time()),
        local=_is_local(scheme, url),
        encrypted=scheme in ("rediss", "valkeys", "unix"),
        password=password,
        user=user,
        refused=reader.refused,
        member=member,
        durability=connection.durability,
    )


def _text(value: Any) -> str:
    """A value as INFO had it: redis-py has taken it apart."""
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _config(reader: Reader) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for name in SETTINGS:
        answer = reader.ask("CONFIG", Command(("CONFIG GET", name)))
        if answer is None:
            return None
        found.update({_decoded(key): _decoded(value) for key, value in answer.items()})
    return found


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _script(reader: Reader, nowhere: TableRef) -> str | None:
    """Calls the script that every reader needs, on a key that is not there."""
    job = {"after": 0.0, "before": 0.0, "folder": "", "suffix": ""}
    request = Call(FILTER, [keys.files(nowhere, "date=1970-01-01")], msgspec.msgpack.encode(job))
    return "" if reader.ask("scripts", request) is not None else reader.refused.pop("scripts", None)


def _pings(reader: Reader) -> Sequence[float]:
    found = []
    for _ in range(PINGS):
        started = time.perf_counter()
        if reader.ask("PING", Command(("PING",))) is None:
            return ()
        found.append((time.perf_counter() - started) * 1000)
    return found[1:]


def _skew(reader: Reader) -> tuple[float | None, float]:
    """The server's clock less ours, and how exactly that is known; from the quickest of some."""
    best: tuple[float | None, float] = (None, float("inf"))
    for _ in range(3):
        before = time.time()
        answer = reader.ask("TIME", Command(("TIME",)))
        after = time.time()
        if answer is None:
            return None, 0.0
        within = (after - before) / 2
        if within < best[1]:
            best = (int(answer[0]) + int(answer[1]) / 1e6 - (before + after) / 2, within)
    return best


def _growth(reader: Reader, now_s: float) -> Growth | None:
    """What the files of yesterday's folders take."""
    day = time.strftime("%Y-%m-%d", time.gmtime(now_s - _DAY_S))
    deadline = time.monotonic() + SCAN_S
    found: set[bytes] = set()
    cursor = 0
    while True:
        pattern = f"files:*:date={day}"
        answer = reader.ask(
            "SCAN", Command(("SCAN", str(cursor), "MATCH", pattern, "COUNT", SCAN_COUNT))
        )
        if answer is None:
            return None
        cursor = int(answer[0])
        found.update(answer[1])
        if not cursor or time.monotonic() > deadline:
            break
    entries = size = 0
    complete = not cursor
    for key in sorted(found):
        if time.monotonic() > deadline:
            complete = False
            break
        usage = reader.ask("MEMORY USAGE", Command(("MEMORY USAGE", key, "SAMPLES", SAMPLES)))
        length = reader.ask("HLEN", Command(("HLEN", key)))
        if length is None or (usage is None and "MEMORY USAGE" in reader.refused):
            return None
        entries += int(length)
        size += int(usage or 0)
    return Growth(entries, size, complete)


def _login(url: str) -> tuple[str, bool]:
    """The user that a server is told, and whether a password is. `url`: as redis-py has it."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    user = options.get("username", [unquote(parts.username or "")])[-1]
    return user or "default", bool(parts.password or "password" in options)


def _is_local(scheme: str, url: str) -> bool:
    if scheme == "unix":
        return True
    try:
        host = urlsplit(url).hostname or "localhost"
    except ValueError:
        return False
    return host in ("localhost", "::1") or host.startswith("127.")
