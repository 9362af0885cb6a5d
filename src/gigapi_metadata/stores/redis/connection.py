"""Getting a request to the server and its answer back: URLs, retries, errors.

`RedisConnection` and `AsyncRedisConnection` differ by one await. What to do after a failure is
decided in one place, `Attempts`, without I/O.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from gigapi_metadata.errors import (
    CorruptState,
    InvalidConfiguration,
    MetadataError,
    OutcomeUnknown,
    StoreError,
    Unavailable,
)
from gigapi_metadata.stores.redis import scripts
from gigapi_metadata.stores.redis.health import INFO, Watch
from gigapi_metadata.stores.redis.scripts import Call, Request
from gigapi_metadata.stores.redis.session import Session
from gigapi_metadata.stores.redis.wire import (
    aexchange,
    exchange,
    keeps_cancellations,
    through_client,
)
from gigapi_metadata.urls import has_bad_port, hide

CONNECT_TIMEOUT_S = 5.0
SOCKET_TIMEOUT_S = 15.0
MAX_CONNECTIONS = 64
POOL_TIMEOUT_S = 60.0
"""How long a call waits for one of them."""

RETRY_PAUSES_S = (0.02, 0.1, 0.4)
"""Before each further attempt, shortened at random so that clients do not come back in step."""

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_OPTIONS = {
    "db",
    "password",
    "username",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "max_connections",
    "health_check_interval",
    "client_name",
    "protocol",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "shared",
}
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


class Target(NamedTuple):
    """What a URL asks for: the URL and the settings to hand to redis-py, and whether others write
    to the catalog all the time (`?shared=1`)."""

    url: str
    settings: dict[str, Any]
    shared: bool


def parse_url(url: str) -> Target:
    """What `url` asks for.

    Raises:
        InvalidConfiguration: another scheme, a database that is no number, an unknown option.
    """
    if not isinstance(url, str):
        raise InvalidConfiguration(f"a Redis URL is text, not {type(url).__name__}")
    shown = hide(url)
    try:
        url.encode()
    except UnicodeEncodeError:
        raise InvalidConfiguration(f"{shown!a}: the URL is not valid Unicode text") from None
    if has_bad_port(url) or "@" in _after_host(url):
        # What follows may be a part of the password: none of it is shown.
        raise InvalidConfiguration(
            f"{shown}: the port is no number; a password is percent-encoded (/ as %2F, @ as %40)"
        )
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES[url.partition(":")[0].lower()]
        options = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        _ = parts.port
    except (KeyError, AttributeError):
        raise InvalidConfiguration(
            f"{shown}: a Redis URL begins with {', '.join(f'{name}://' for name in _SCHEMES)}"
        ) from None
    except ValueError:
        # Their messages quote the URL.
        raise InvalidConfiguration(
            f"{shown}: the URL can't be read; its form is "
            "redis://user:password@host:port/database?option=value"
        ) from None
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise InvalidConfiguration(
            f"{shown}: unknown option {unknown[0]!r}; known are {', '.join(sorted(_OPTIONS))}"
        )
    database = options.get("db", "" if scheme == "unix" else unquote(parts.path).strip("/"))
    if database and not (database.isdecimal() and database.isascii()):
        raise InvalidConfiguration(f"{shown}: the database must be a number, not {database!r}")
    _check_options(shown, scheme, options)
    settings: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "protocol": 2,
        # Beyond so many calls at once, the others wait for a connection.
        "max_connections": MAX_CONNECTIONS,
        "timeout": POOL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "gigapi-metadata",
    }
    if scheme == "rediss":
        # redis-py verifies certificates by default; it can't be left out by accident.
        checks = options.get("ssl_cert_reqs", "required")
        if checks not in ("none", "optional", "required"):
            raise InvalidConfiguration(
                f"{shown}: ssl_cert_reqs must be required, optional or none, not {checks!r}"
            )
        settings["ssl_cert_reqs"] = checks
        if checks == "none":
            settings["ssl_check_hostname"] = False
    place, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith("shared=")]
    target = scheme + place[len(parts.scheme) :] + ("?" + "&".join(kept) if kept else "")
    return Target(target, settings, _FLAGS[options.get("shared", "").lower()])


def _check_options(shown: str, scheme: str, options: dict[str, str]) -> None:
    """Refuse values that redis-py takes and then does not work with."""
    for name in ("socket_timeout", "socket_connect_timeout", "max_connections"):
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}", options.get(name, "1")) or (
            float(options.get(name, "1")) <= 0
        ):
            raise InvalidConfiguration(f"{shown}: {name} must be a number above 0")
    if options.get("shared", "").lower() not in _FLAGS:
        raise InvalidConfiguration(f"{shown}: shared must be 1 or 0")
    if options.get("protocol", "2") not in ("2", "3"):
        raise InvalidConfiguration(f"{shown}: protocol must be 2 or 3")
    if scheme != "rediss" and any(name.startswith("ssl_") for name in options):
        raise InvalidConfiguration(f"{shown}: ssl_ options are for rediss:// and valkeys://")


def _after_host(url: str) -> str:
    place = url.partition("://")[2].partition("?")[0]
    return "" if url.startswith("unix:") else place.partition("/")[2]


class Attempts:
    """What to do when sending a request has failed. Decides, does no I/O.

    A request that may have reached the server is sent again all the same: reads change nothing, and
    a write carries a receipt. When the attempts are used up, the error tells the two cases apart.
    """

    def __init__(self, request: Request, shown_url: str) -> None:
        self._request = request
        self._url = shown_url
        self._pauses = iter(RETRY_PAUSES_S)
        self.unknown_script = False
        self._maybe_done = False

    def failed(self, error: Exception) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            MetadataError: there is no next attempt.
        """
        if isinstance(error, NoScriptError) and not self.unknown_script:
            self.unknown_script = True
            return 0.0
        if isinstance(error, (AuthenticationError, AuthorizationError)):
            refusal: MetadataError = StoreError(f"{self._url} refuses the login: {error}")
            raise self._refused(error, refusal) from error
        if isinstance(error, ResponseError) and not self._may_pass(error):
            raise self._refused(error, _mapped(error, self._url)) from error
        if not _never_sent(error):
            self._maybe_done = True
        if "Timeout connecting" in str(error):
            # Nobody is there, or somebody who does not speak (TLS, or no TLS): it would not help.
            raise self._given_up(error) from error
        try:
            longest = next(self._pauses)
        except StopIteration:
            raise self._given_up(error) from error
        return longest * random.uniform(0.5, 1.0)

    def _may_pass(self, error: ResponseError) -> bool:
        """Whether it is worth waiting: a failover is under way, or a script takes its time. Not for
        what a read can do without."""
        if isinstance(self._request, Call) and not self._request.script.receipt:
            return False
        return _is_read_only(error) or str(error).startswith("BUSY ")

    def _refused(self, error: Exception, refusal: MetadataError) -> MetadataError:
        """`refusal`, unless an earlier attempt may have been carried out. A script that finds the
        catalog corrupt has looked at its receipt first: none was."""
        if self._maybe_done and self._request.writes and not isinstance(refusal, CorruptState):
            return self._given_up(error)
        return refusal

    @property
    def doubtful_receipt(self) -> str | None:
        """The key of the write's receipt, if it may have been sent more than once."""
        request = self._request
        if self._maybe_done and isinstance(request, Call) and request.script.receipt:
            return request.keys[0]
        return None

    def _given_up(self, error: Exception) -> MetadataError:
        if self._maybe_done and self._request.writes:
            return OutcomeUnknown(
                f"{self._url} did not answer ({error}): the write may have happened. "
                "Repeating the same call is safe."
            )
        if _is_read_only(error):
            return Unavailable(
                f"{self._url} is a read only replica: write to its master. Nothing was written."
            )
        if isinstance(error, ResponseError) and not isinstance(error, BusyLoadingError):
            return Unavailable(f"{self._url} is busy: {error}")
        return Unavailable(f"{self._url} can't be reached: {error}")


def _is_read_only(error: Exception) -> bool:
    # Redis 6.2 wraps what a script met in words of its own.
    return isinstance(error, ReadOnlyError) or "READONLY You can't write" in str(error)


def _never_sent(error: Exception) -> bool:
    # redis-py raises the same class for a connection that was never made and for one that broke;
    # only the message of the former says "connecting to".
    return (
        isinstance(error, (BusyLoadingError, MaxConnectionsError))
        or _is_read_only(error)
        or str(error).startswith("BUSY ")
        or "connecting to" in str(error)
        or "No connection available" in str(error)
    )


def _mapped(error: ResponseError, url: str) -> MetadataError:
    text = str(error)
    if "CORRUPT " in text:
        return CorruptState(
            text[text.index("CORRUPT ") + len("CORRUPT ") :].partition(" script:")[0]
        )
    if "WRONGTYPE" in text:
        return CorruptState(f"{url}: a key of the catalog holds another type of value: {text}")
    return StoreError(f"{url} refused a request: {text}")


@contextmanager
def _as_configuration(shown: str) -> Iterator[None]:
    """What redis-py says of an option's value, as our error."""
    try:
        yield
    except (ValueError, TypeError) as fault:
        raise InvalidConfiguration(f"{shown}: {fault}") from None


class _Connection:
    """What the sync and the async connection share: the URL, and what a client remembers."""

    def __init__(self, url: str) -> None:
        self._target, self._settings, self.shared = parse_url(url)
        self.shown_url = hide(url)
        self.session = Session()
        # A RESP3 connection may be told other things between an answer and the next.
        self.direct = "protocol=3" not in self._target
        self._watch = Watch(self.shown_url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown_url!r})"

    def _answered(self, attempts: Attempts) -> None:
        if attempts.doubtful_receipt is not None:
            self.session.receipts.doubt(attempts.doubtful_receipt)


class RedisConnection(_Connection):
    """A pool of connections to one server. `client` is redis-py's own client on that pool.

    Threads may share it. Connections are made when they are needed, so making one can't fail for
    want of a server; `load_scripts` asks for one.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        with _as_configuration(self.shown_url):
            pool = redis.BlockingConnectionPool.from_url(self._target, **self._settings)
        self.client: redis.Redis = redis.Redis.from_pool(pool)

    def perform(self, request: Request) -> Any:
        """The answer to `request`; retried where that is safe."""
        attempts = Attempts(request, self.shown_url)
        while True:
            try:
                answer = exchange(
                    self.client,
                    request,
                    unknown_script=attempts.unknown_script,
                    direct=self.direct,
                )
                break
            except (RedisError, OSError) as error:
                pause = attempts.failed(error)
            time.sleep(pause)
        self._answered(attempts)
        if request.writes and self._watch.due:
            self._watch.begin()
            with suppress(RedisError, OSError):  # may be forbidden
                self._watch.say(through_client(self.client, INFO))
        return answer

    def load_scripts(self) -> None:
        """Make the scripts known to the server ahead of their first use."""
        for script in scripts.ALL:
            self.perform(scripts.Command(("SCRIPT LOAD", script.source)))

    def close(self) -> None:
        """Close all connections. May be called again."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncRedisConnection(_Connection):
    """As RedisConnection, for one event loop."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        settings = {**self._settings, "retry": AsyncRetry(NoBackoff(), 0)}
        with _as_configuration(self.shown_url):
            pool = redis.asyncio.BlockingConnectionPool.from_url(self._target, **settings)
        pool.connection_class = keeps_cancellations(pool.connection_class)
        self.client: redis.asyncio.Redis = redis.asyncio.Redis.from_pool(pool)

    async def perform(self, request: Request) -> Any:
        """The answer to `request`; retried where that is safe."""
        attempts = Attempts(request, self.shown_url)
        while True:
            try:
                answer = await aexchange(
                    self.client,
                    request,
                    unknown_script=attempts.unknown_script,
                    direct=self.direct,
                )
                break
            except (RedisError, OSError) as error:
                pause = attempts.failed(error)
            await asyncio.sleep(pause)
        self._answered(attempts)
        if request.writes and self._watch.due:
            self._watch.begin()
            with suppress(RedisError, OSError):  # may be forbidden
                self._watch.say(await through_client(self.client, INFO))
        return answer

    async def load_scripts(self) -> None:
        """Make the scripts known to the server ahead of their first use."""
        for script in scripts.ALL:
            await self.perform(scripts.Command(("SCRIPT LOAD", script.source)))

    async def close(self) -> None:
        """Close all connections. May be called again."""
        await self.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
