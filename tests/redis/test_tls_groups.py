"""TLS and logins in a cluster and behind sentinels: every hop verifies, and every hop logs in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fix_redis import RedisServer
from fix_stores import Blocking, entry
from fix_topologies import CERTIFICATES, SERVICE, Cluster, Sentinels, newest, wait_for, with_tls

import gigapi_metadata as gm
from gigapi_metadata.doctor import examine
from gigapi_metadata.errors import StoreError, Unavailable

pytestmark = pytest.mark.xdist_group("tls_groups")  # which share servers

CA = f"ssl_ca_certs={CERTIFICATES / 'ca.pem'}"
TABLES = [f"t{number}" for number in range(6)]


@pytest.fixture(scope="module")
def tls_cluster() -> Iterator[Cluster]:
    made = Cluster(with_tls(), 3, 0, certificates=["localhost"] * 3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tls_sentinels() -> Iterator[Sentinels]:
    made = Sentinels(with_tls(), certificates=["localhost"] * 6 + ["elsewhere"])
    yield made
    made.close()


@pytest.fixture(scope="module")
def login_cluster() -> Iterator[Cluster]:
    """Of a default user with a password, and another one."""
    made = Cluster(newest(), 3, 0)
    for server in made.masters:
        with server.client() as client:
            client.execute_command("ACL SETUSER", "app", "on", ">p%40ss/", "~*", "+@all")
            client.execute_command("CONFIG SET", "requirepass", "s3cret:@")
    yield made
    made.close()


@pytest.fixture(scope="module")
def login_sentinels() -> Iterator[Sentinels]:
    """The servers have one password, the sentinels another."""
    made = Sentinels(newest())
    for server in made.servers[:3]:
        with server.client() as client:
            client.execute_command("CONFIG SET", "masterauth", "data")
            client.execute_command("CONFIG SET", "requirepass", "data")
    for watcher in made.watchers:
        with watcher.client() as client:
            client.execute_command("SENTINEL SET", SERVICE, "auth-pass", "data")
            client.execute_command("ACL SETUSER", "app", "on", ">watch", "+@all")
            client.execute_command("ACL SETUSER", "default", "resetpass", ">other")
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def open_catalog(
    request: pytest.FixtureRequest, background_loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[[str], Any]]:
    made: list[Any] = []

    def new(url: str) -> Any:
        if request.param == "sync":
            made.append(gm.connect(url))
        else:
            made.append(Blocking(gm.connect_async(url), background_loop))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigapi_metadata.stores.redis.attempts.FAILOVER_PAUSES_S", (0.01,))


def fill(catalog: Any, loop: asyncio.AbstractEventLoop, tables: int = 1) -> list[Exception]:
    """A file into each table; the errors of those that could not take it."""
    errors: list[Exception] = []
    for name in TABLES[:tables]:
        table = catalog.table("db", name)
        table = Blocking(table, loop) if isinstance(catalog, Blocking) else table
        try:
            table.batch([entry(1, table=name)])
            assert [each.path for each in table.query(after=0)] == [entry(1).path]
        except StoreError as error:
            errors.append(error)
    return errors


@contextmanager
def showing(certificate: str, *servers: RedisServer) -> Iterator[None]:
    """The servers show another certificate, and have to show it to everybody anew."""

    def show(name: str) -> None:
        file = str(CERTIFICATES / f"{name}.pem")
        for server in servers:
            with server.client() as client:
                client.execute_command("CONFIG SET", "tls-cert-file", file, "tls-key-file", file)

    show(certificate)
    try:
        yield
    finally:
        show("localhost")


def test_every_node_of_a_cluster_is_verified(
    tls_cluster: Cluster,
    open_catalog: Callable[[str], Any],
    background_loop: asyncio.AbstractEventLoop,
) -> None:
    url = f"{tls_cluster.url}?{CA}"
    catalog = open_catalog(url)
    assert fill(catalog, background_loop, len(TABLES)) == []
    assert catalog.tables("db") == TABLES
    assert len(fill(open_catalog(tls_cluster.url), background_loop)) == 1
    first = f"rediss+cluster://localhost:{tls_cluster.masters[0].port}?{CA}"
    later = tls_cluster.masters[2]  # which the first one names
    with showing("elsewhere", later):
        errors = fill(open_catalog(first), background_loop, len(TABLES))
        assert 0 < len(errors) < len(TABLES)
        for error in errors:
            assert isinstance(error, Unavailable)
            assert f"127.0.0.1:{later.port}. [SSL: CERTIFICATE_VERIFY_FAILED]" in str(error)
        anybody = open_catalog(f"{first}&ssl_cert_reqs=none")
        assert fill(anybody, background_loop, len(TABLES)) == []


def test_sentinels_and_whom_they_name_are_verified(
    tls_sentinels: Sentinels,
    open_catalog: Callable[[str], Any],
    background_loop: asyncio.AbstractEventLoop,
) -> None:
    url = f"{tls_sentinels.url}?{CA}"
    assert fill(open_catalog(url), background_loop) == []
    assert len(fill(open_catalog(tls_sentinels.url), background_loop)) == 1
    with showing("elsewhere", tls_sentinels.first):
        (error,) = fill(open_catalog(url), background_loop)
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)
        assert fill(open_catalog(f"{url}&ssl_cert_reqs=none"), background_loop) == []
    if len(tls_sentinels.servers) == 6:
        tls_sentinels.watch()
    url = f"rediss+sentinel://127.0.0.1:{tls_sentinels.servers[6].port}/{SERVICE}?{CA}"
    (error,) = fill(open_catalog(url), background_loop)
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert fill(open_catalog(f"{url}&ssl_cert_reqs=none"), background_loop) == []


@pytest.mark.parametrize("kind", ["cluster", "sentinels"])
def test_no_tls_where_there_is_some_names_the_cause(
    kind: str, request: pytest.FixtureRequest, open_catalog: Callable[[str], Any]
) -> None:
    group: Cluster | Sentinels = request.getfixturevalue(f"tls_{kind}")
    with pytest.raises(Unavailable, match=r"speaks TLS: write rediss\S*:// for redis\S*://"):
        open_catalog(group.url.replace("rediss", "redis")).tables("db")


def test_doctor_goes_by_tls_everywhere(tls_cluster: Cluster, tls_sentinels: Sentinels) -> None:
    for group in (tls_cluster, tls_sentinels):
        url = f"{group.url}?{CA}"
        with gm.connect(url) as catalog:
            found = list(examine(catalog, url))
        assert ("scripts", "ok") in {(each.check, each.level) for each in found}
        assert not [each for each in found if "CERTIFICATE" in each.message]


# Logins


def test_a_cluster_with_passwords_and_users(
    login_cluster: Cluster,
    open_catalog: Callable[[str], Any],
    background_loop: asyncio.AbstractEventLoop,
) -> None:
    for login in (":s3cret%3A%40@", "app:p%2540ss%2F@"):
        url = login_cluster.url.replace("://", f"://{login}")
        assert fill(open_catalog(url), background_loop, len(TABLES)) == []
    for login in ("", ":wrong@", "app:s3cret%3A%40@"):
        url = login_cluster.url.replace("://", f"://{login}")
        (error,) = fill(open_catalog(url), background_loop)
        assert "refuses the login" in str(error)
        assert "s3cret" not in str(error)


def test_sentinels_with_a_password_of_their_own(
    login_sentinels: Sentinels,
    open_catalog: Callable[[str], Any],
    background_loop: asyncio.AbstractEventLoop,
) -> None:
    group = login_sentinels
    named = group.url.replace("://", "://:data@")
    for login in ("sentinel_password=other", "sentinel_username=app&sentinel_password=watch"):
        url = f"{named}?{login}"
        wait_for(lambda url=url: fill(open_catalog(url), background_loop) == [], "all let us in")
        with gm.connect(url) as catalog:
            found = list(examine(catalog, url))
        assert not [each for each in found if "refuses" in each.message]
    for url in (named, f"{named}?sentinel_password=data", f"{group.url}?sentinel_password=other"):
        (error,) = fill(open_catalog(url), background_loop)
        assert "refuses the login" in str(error)
        of_sentinels = url.startswith(named)
        assert ("sentinel_password=…" in str(error)) == of_sentinels
        assert "other" not in str(error)
    with gm.connect(named) as catalog:
        found = list(examine(catalog, named))
    assert all("sentinel_password" in each.remedy for each in found)
    assert len(found) == len(group.watchers)
