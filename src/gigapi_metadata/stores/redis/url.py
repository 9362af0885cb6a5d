"""What the URL of a Redis catalog says: where its servers are, and what they are told."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.backoff import NoBackoff
from redis.retry import Retry

from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.stores.redis import topology
from gigapi_metadata.stores.redis.durability import Durability
from gigapi_metadata.stores.redis.slots import Address
from gigapi_metadata.stores.redis.topology import Topology
from gigapi_metadata.urls import has_bad_port, hide, quoted

CONNECT_TIMEOUT_S = 5.0
SOCKET_TIMEOUT_S = 15.0
MAX_CONNECTIONS = 64
POOL_TIMEOUT_S = 60.0
"""How long a call waits for one of them."""

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
    "durability",
    "sentinel_username",
    "sentinel_password",
}
_OURS = ("shared", "durability", "sentinel_username", "sentinel_password")
"""Those of them that redis-py is not told of."""

_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


class Target(NamedTuple):
    """What a URL asks for: the URL and the settings to hand to redis-py, whether others write to
    the catalog all the time (`?shared=1`), what writes are to survive, where the servers are, and
    the login at the sentinels."""

    url: str
    settings: dict[str, Any]
    shared: bool
    durability: Durability
    topology: Topology
    sentinels: dict[str, Any]

    @property
    def hosts(self) -> tuple[Address, ...]:
        """The hosts that the URL names; none for a socket."""
        if self.topology.hosts or self.url.startswith("unix:"):
            return self.topology.hosts
        parts = urlsplit(self.url)
        return ((unquote(parts.hostname or "localhost"), parts.port or 6379),)

    @property
    def place(self) -> str:
        """The first host as `host:port`, or the path of the socket."""
        if not self.hosts:
            return unquote(urlsplit(self.url).path)
        host, port = self.hosts[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def node_url(self, host: str, port: int, **options: object) -> str:
        """The URL of one server of a group, with the login, the database and the options of this
        one, and further `options`. It holds the password."""
        parts = urlsplit(self.url)
        login, at, _ = parts.netloc.rpartition("@")
        place = f"{login}{at}[{host}]:{port}" if ":" in host else f"{login}{at}{host}:{port}"
        return _with(parts._replace(netloc=place).geturl(), options)

    def url_with(self, **options: object) -> str:
        """The URL with further `options`. It holds the password."""
        return _with(self.url, options)


def _with(url: str, options: dict[str, object]) -> str:
    place, _, query = url.partition("?")
    return f"{place}?{urlencode(dict(parse_qsl(query, keep_blank_values=True)) | options)}"


def _split(url: str) -> tuple[SplitResult, dict[str, str]] | None:
    """A URL's parts and options; None if it can't be read. What it is about stays in here: the
    message of such an error quotes the URL, and would go along as another one's context."""
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _ = parts.port
    except (AttributeError, ValueError):
        return None
    return parts, dict(options)


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
    where = topology.split(url, shown)
    url = where.url
    if has_bad_port(url) or "@" in _after_host(url):
        # What follows may be a part of the password: none of it is shown.
        raise InvalidConfiguration(
            f"{shown}: the port is no number; a password is percent-encoded (/ as %2F, @ as %40)"
        )
    scheme = _SCHEMES.get(url.partition(":")[0].lower())
    if scheme is None:
        raise InvalidConfiguration(
            f"{shown}: a Redis URL begins with {', '.join(f'{name}://' for name in _SCHEMES)}, "
            "or redis+sentinel:// or redis+cluster://"
        )
    split = _split(url)
    if split is None:
        raise InvalidConfiguration(
            f"{shown}: the URL can't be read; its form is "
            "redis://user:password@host:port/database?option=value"
        )
    parts, options = split
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise InvalidConfiguration(
            f"{shown}: unknown option {quoted(unknown[0], shown)}; known are "
            f"{', '.join(sorted(_OPTIONS))}"
        )
    database = options.get("db", "" if scheme == "unix" else unquote(parts.path).strip("/"))
    if database and not (database.isdecimal() and database.isascii()):
        raise InvalidConfiguration(
            f"{shown}: the database must be a number, not {quoted(database, shown)}"
        )
    _check_options(shown, scheme, options)
    if where.kind == "cluster" and database not in ("", "0"):
        raise InvalidConfiguration(f"{shown}: a cluster has one database, 0")
    if where.kind != "server" and scheme == "unix":
        raise InvalidConfiguration(f"{shown}: sentinels and clusters are reached by host and port")
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
                f"{shown}: ssl_cert_reqs must be required, optional or none, "
                f"not {quoted(checks, shown)}"
            )
        settings["ssl_cert_reqs"] = checks
        if checks == "none":
            settings["ssl_check_hostname"] = False
    place, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in _OURS]
    return Target(
        scheme + place[len(parts.scheme) :] + ("?" + "&".join(kept) if kept else ""),
        settings,
        _FLAGS[options.get("shared", "").lower()],
        Durability.parse(options.get("durability", "local")),
        where,
        {
            name.removeprefix("sentinel_"): value
            for name, value in options.items()
            if name.startswith("sentinel_")
        },
    )


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
    durability = options.get("durability", "local")
    try:
        Durability.parse(durability)
    except InvalidConfiguration as fault:
        text = str(fault).replace(repr(durability), quoted(durability, shown))
        raise InvalidConfiguration(f"{shown}: {text}") from None
    if scheme != "rediss" and any(name.startswith("ssl_") for name in options):
        raise InvalidConfiguration(f"{shown}: ssl_ options are for rediss:// and valkeys://")


def _after_host(url: str) -> str:
    place = url.partition("://")[2].partition("?")[0]
    return "" if url.startswith("unix:") else place.partition("/")[2]
