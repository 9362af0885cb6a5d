"""URLs: what they may say, what is wrong with the others, and that no password is ever shown."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
import redis
from fix_redis import RedisServer
from fix_stores import entry

from gigapi_metadata import (
    AsyncRedisConnection,
    AsyncRedisIndex,
    InvalidConfiguration,
    MetadataError,
    RedisConnection,
    RedisDBIndex,
    RedisIndex,
    RedisKVStore,
    StoreError,
    connect,
)

NewServer = Callable[..., RedisServer]
SECRET = "s3cr3t"


def settings_of(url: str) -> dict[str, Any]:
    with RedisConnection(url) as connection:
        return dict(connection.client.connection_pool.connection_kwargs)


@pytest.mark.parametrize(
    ("url", "host", "port", "db"),
    [
        ("redis://example.org", "example.org", None, None),
        ("redis://example.org/", "example.org", None, None),
        ("redis://example.org:1234/7", "example.org", 1234, 7),
        ("redis://example.org?db=3", "example.org", None, 3),
        ("redis://[::1]:1234/1", "::1", 1234, 1),
        ("valkey://example.org/2", "example.org", None, 2),
        ("rediss://example.org:1/0", "example.org", 1, 0),
        ("valkeys://example.org:1/0", "example.org", 1, 0),
    ],
)
def test_host_port_and_database_are_read(
    url: str, host: str, port: int | None, db: int | None
) -> None:
    found = settings_of(url)
    assert found.get("host") == host
    assert found.get("port") in (port, 6379 if port is None else port)
    assert (found.get("db") or 0) == (db or 0)


def test_user_and_password_are_read_as_quoted() -> None:
    found = settings_of("redis://me%40x:p%2Fw%3A%40%23@example.org")
    assert (found["username"], found["password"]) == ("me@x", "p/w:@#")
    assert settings_of("redis://example.org?username=u&password=p")["password"] == "p"


@pytest.mark.parametrize("url", ["rediss://example.org", "valkeys://example.org"])
def test_certificates_are_verified_unless_the_url_says_not_to(url: str) -> None:
    def checks(settings: dict[str, Any]) -> tuple[Any, Any]:
        return settings["ssl_cert_reqs"], settings.get("ssl_check_hostname", True)

    assert checks(settings_of(url)) == ("required", True)
    assert checks(settings_of(f"{url}?ssl_cert_reqs=required")) == ("required", True)
    assert checks(settings_of(f"{url}?ssl_cert_reqs=none")) == ("none", False)


BAD = {
    "another scheme": f"http://:{SECRET}@example.org",
    "no scheme": "example.org:6379",
    "nothing": "",
    "None": None,
    "bytes": f"redis://:{SECRET}@h".encode(),
    "scheme alone": "redis:example.org",
    "leading space": f" redis://:{SECRET}@example.org",
    "a database that is no number": f"redis://:{SECRET}@example.org/zero",
    "a database below zero": "redis://example.org/-1",
    "two databases": "redis://example.org/1/2",
    "a db option that is no number": f"redis://:{SECRET}@example.org?db=x",
    "a port that is no number": f"redis://:{SECRET}@example.org:port",
    "a port too high": f"redis://:{SECRET}@example.org:99999",
    "half an address": f"redis://:{SECRET}@[::1",
    "an unknown option": f"redis://:{SECRET}@example.org?ssl_verify=no",
    "an option without a value": f"redis://:{SECRET}@example.org?socket_timeout",
    "a timeout that is no number": f"redis://:{SECRET}@example.org?socket_timeout=soon",
    "a negative timeout": f"redis://:{SECRET}@example.org?socket_timeout=-1",
    "connections that are no number": f"redis://:{SECRET}@example.org?max_connections=many",
    "no connections": f"redis://:{SECRET}@example.org?max_connections=0",
    "a protocol that is none": f"redis://:{SECRET}@example.org?protocol=9",
    "checks that are none": f"rediss://:{SECRET}@example.org?ssl_cert_reqs=maybe",
    "TLS options without TLS": f"redis://:{SECRET}@example.org?ssl_ca_certs=ca.pem",
    "TLS checks without TLS": f"redis://:{SECRET}@example.org?ssl_cert_reqs=none",
    "a password with a slash": f"redis://:{SECRET}/x@example.org/0",
    "a password with a number and a slash": f"redis://:1/{SECRET}@example.org/0",
    "a password with a hash": f"redis://:{SECRET}#x@example.org/0",
    "a password with a question mark": f"redis://:{SECRET}?x@example.org/0",
    "a password with a bracket": f"redis://:[{SECRET}@example.org/0",
}


@pytest.mark.parametrize("made", [RedisConnection, AsyncRedisConnection])
@pytest.mark.parametrize("fault", BAD)
def test_a_url_that_can_not_be_is_refused_without_showing_its_password(
    made: Callable[[Any], Any], fault: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        made(BAD[fault])
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("fault", BAD)
def test_no_index_is_made_of_such_a_url(fault: str) -> None:
    for made in (RedisDBIndex, RedisKVStore, lambda url: RedisIndex(url, "db", "t")):
        with pytest.raises(InvalidConfiguration):
            made(BAD[fault])  # type: ignore[arg-type]


GOOD = [
    f"redis://:{SECRET}@127.0.0.1:1/0",
    f"redis://user:{SECRET}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={SECRET}",
    f"redis://user:{SECRET}@x@127.0.0.1:1/0",
    f"rediss://:{SECRET}@127.0.0.1:1/0",
    f"unix://user:{SECRET}@/no/such/socket?db=1",
    f"unix:///no/such/socket?password={SECRET}",
]


@pytest.mark.parametrize("url", GOOD)
def test_no_repr_and_no_error_shows_the_password(url: str) -> None:
    with RedisIndex(url, "db", "t") as index, connect(url) as catalog:
        shown = [index, index.connection, catalog, catalog.kv, index.connection.client]
        assert not [each for each in shown if SECRET in repr(each) or SECRET in str(each)]
        with pytest.raises(MetadataError) as caught:
            index.get_all()
    assert SECRET not in "".join(
        line
        for error in (caught.value, caught.value.__cause__)
        for line in traceback.format_exception_only(error)
    )


def test_a_password_is_given_and_a_wrong_one_is_an_error_that_hides_it(
    new_redis_server: NewServer,
) -> None:
    server = new_redis_server("--requirepass", SECRET)
    with RedisIndex(f"redis://:{SECRET}@127.0.0.1:{server.port}", "db", "t") as index:
        index.batch([entry(1)])
        assert index.get_all() == [entry(1)]
    for wrong in (f":{SECRET}x@", f"user:{SECRET}@", ""):
        with RedisIndex(f"redis://{wrong}127.0.0.1:{server.port}", "db", "t") as index:
            with pytest.raises(StoreError) as caught:
                index.get_all()
            assert SECRET not in str(caught.value)


async def test_a_wrong_password_is_an_error_to_asyncio_too(new_redis_server: NewServer) -> None:
    server = new_redis_server("--requirepass", SECRET)
    async with AsyncRedisIndex(f"redis://:{SECRET}x@127.0.0.1:{server.port}", "db", "t") as index:
        with pytest.raises(StoreError) as caught:
            await index.get_all()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "options", ["", "?protocol=3", "?max_connections=2&socket_keepalive=yes&client_name=me"]
)
def test_options_reach_the_server(new_redis_server: NewServer, options: str) -> None:
    server = new_redis_server()
    with RedisIndex(server.url(3) + options, "db", "t") as index:
        index.batch([entry(1), entry(2)])
        assert index.get_all() == [entry(1), entry(2)]
        assert len(index.plans()) == 1
        plan = index.get_merge_plan("", "", 1)
        assert plan is None
        with server.client() as client:
            names = {each["name"] for each in client.client_list()}
    assert ("me" if "me" in options else "gigapi-metadata") in names
    with server.client(3) as client:
        assert client.exists("folders:db:t")
    with server.client(0) as client:
        assert not client.dbsize()


def test_a_socket_and_every_spelling_lead_to_the_same_catalog(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    address = f"127.0.0.1:{server.port}"
    urls = [
        f"redis://{address}",
        f"redis://{address}/0",
        f"valkey://{address}/",
        f"REDIS://{address}",
        f"unix://{server.socket}",
        f"unix://{server.socket}?db=0",
    ]
    for number, url in enumerate(urls):
        with RedisIndex(url, "db", "t") as index:
            index.batch([entry(number)])
            assert len(index.get_all()) == number + 1
            assert isinstance(index.connection.client, redis.Redis)


def test_a_connection_may_be_shared_and_is_closed_by_whoever_made_it(redis_url: str) -> None:
    with RedisConnection(redis_url) as connection:
        with RedisIndex(connection, "db", "t") as index, RedisKVStore(connection) as values:
            index.batch([entry(1)])
            values.put("key", b"1")
        assert connection.client.ping()
        with RedisDBIndex(connection) as names:
            assert names.databases() == ["db"]
        connection.load_scripts()
    connection.close()


def test_a_connections_client_is_the_plain_one(redis_url: str) -> None:
    with RedisConnection(redis_url) as connection:
        connection.client.set("plain", b"bytes")
        assert connection.client.get("plain") == b"bytes"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?socket_timeout=.",
        "redis://h?socket_timeout=",
        "redis://\ud800",
        "redis://user:Zs3cr3tQ@h?:Zs3cr3tQ@",  # found by tests/fuzz: the parser's error quotes it
        "redis://user:Zs3cr3tQ@h?db=1:Zs3cr3tQ@",  # a password with a ? in it, not encoded
        "redis://user:pass?Zs3cr3tQ=1@h",
        "redis://user:pass?durability=Zs3cr3tQ@h",
        "rediss://user:pass?ssl_cert_reqs=Zs3cr3tQ@h",
    ],
)
def test_what_fuzzing_found(url: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        RedisIndex(url, "db", "t")
    assert "Zs3cr3tQ" not in str(caught.value)
