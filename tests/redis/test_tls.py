"""rediss://: certificates are verified unless the URL says not to."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fix_redis import RedisServer
from fix_stores import entry
from wire import proxy

from gigapi_metadata import AsyncRedisIndex, RedisIndex, StoreError, Unavailable

CERTIFICATES = Path(__file__).parent / "tls"
CA = CERTIFICATES / "ca.pem"


@pytest.fixture
def ports(new_redis_server: Callable[..., RedisServer]) -> Iterator[dict[str, int]]:
    """Ports of one server behind TLS, by the certificate it shows."""
    server = new_redis_server()
    contexts = {}
    for name in ("localhost", "elsewhere"):
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(CERTIFICATES / f"{name}.pem")
    with (
        proxy(server.port, contexts["localhost"]) as right,
        proxy(server.port, contexts["elsewhere"]) as wrong,
    ):
        yield {"localhost": right.port, "elsewhere": wrong.port}


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_the_named_ca_is_accepted(
    ports: dict[str, int], scheme: str, host: str
) -> None:
    url = f"{scheme}://{host}:{ports['localhost']}?ssl_ca_certs={CA}"
    with RedisIndex(url, "db", "t") as index:
        index.batch([entry(1)])
        assert index.get_all() == [entry(1)]


@pytest.mark.parametrize(
    ("shown", "options"),
    [
        ("localhost", ""),
        ("localhost", "?ssl_cert_reqs=required"),
        ("elsewhere", f"?ssl_ca_certs={CA}"),
        ("elsewhere", ""),
    ],
)
def test_any_other_certificate_is_refused(ports: dict[str, int], shown: str, options: str) -> None:
    with RedisIndex(f"rediss://:pw@127.0.0.1:{ports[shown]}{options}", "db", "t") as index:
        with pytest.raises(Unavailable, match=r"(?i)certificate") as caught:
            index.batch([entry(1)])
        assert "pw" not in str(caught.value).replace("://:***@", "")
        assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("shown", ["localhost", "elsewhere"])
def test_verification_can_be_turned_off(ports: dict[str, int], shown: str) -> None:
    url = f"rediss://127.0.0.1:{ports[shown]}?ssl_cert_reqs=none"
    with RedisIndex(url, "db", "t") as index:
        index.batch([entry(1)])
        assert index.get_all() == [entry(1)]


async def test_asyncio_verifies_alike(ports: dict[str, int]) -> None:
    right, wrong = ports["localhost"], ports["elsewhere"]
    for url, good in (
        (f"rediss://127.0.0.1:{right}?ssl_ca_certs={CA}", True),
        (f"rediss://127.0.0.1:{wrong}?ssl_cert_reqs=none", True),
        (f"rediss://127.0.0.1:{right}", False),
        (f"rediss://127.0.0.1:{wrong}?ssl_ca_certs={CA}", False),
    ):
        async with AsyncRedisIndex(url, "db", "t") as index:
            if good:
                await index.batch([entry(1)])
                assert await index.get_all() == [entry(1)]
            else:
                with pytest.raises(Unavailable, match=r"(?i)certificate"):
                    await index.get_all()


def test_a_ca_file_that_is_not_there_is_named(ports: dict[str, int]) -> None:
    url = f"rediss://127.0.0.1:{ports['localhost']}?ssl_ca_certs=/no/such/ca.pem"
    with (
        RedisIndex(url, "db", "t") as index,
        pytest.raises(StoreError, match=r"ca\.pem|No such file"),
    ):
        index.get_all()


async def all_writes_fail(url: str, says: str) -> None:
    with RedisIndex(url, "db", "t") as index:
        for _ in range(2):
            with pytest.raises(Unavailable, match=says):
                index.batch([entry(1)])
    async with AsyncRedisIndex(url, "db", "t") as index_:
        with pytest.raises(Unavailable, match=says):
            await index_.batch([entry(1)])


async def test_tls_to_a_server_without_it_names_the_cause(
    new_redis_server: Callable[..., RedisServer],
) -> None:
    """It never answers a TLS greeting, so it is not waited for as long as for an answer."""
    server = new_redis_server()
    url = f"rediss://127.0.0.1:{server.port}?socket_timeout=600&socket_connect_timeout=0.2"
    says = r"does not speak TLS: write redis://"
    await all_writes_fail(url, says)


async def test_no_tls_to_a_server_with_it_names_the_cause(ports: dict[str, int]) -> None:
    """A write that can't have arrived is not one of unknown outcome."""
    url = f"redis://:pw@127.0.0.1:{ports['localhost']}"
    says = r"speaks TLS: write rediss://"
    await all_writes_fail(url, says)
