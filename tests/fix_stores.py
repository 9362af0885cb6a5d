"""One table of backends: every store, every server found, sync and async.

    def test_something(open_index: OpenIndex, backend: Backend) -> None:
        index = open_index(merge_configurations=[[10, 1000, 1]])     # db.t on an empty catalog
        index.batch([entry(1)])
        backend.advance(10)                                          # ten seconds go by

A test that asks for `backend` (or `open_index`) runs once for each of them. Async classes are
driven on a loop in a thread, so each test is written once, as sync code.

Time stands still until a test lets it pass. SQLite is given a clock; on Redis the scripts under
test get another `server_time()`, which reads a key. Everything that depends on time - leases,
fencing, grace - is shifted alike, exactly as if the seconds had gone by, and "within the same
second" is no matter of luck. (Rewriting `time_s` in the queues would pull a lease from under its
holder.)
tests/redis and tests/concurrency run the scripts as they ship.

Random tests share one seed a run, printed in the header; TEST_SEED=N repeats a run.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import itertools
import os
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from fix_redis import GivenServer, RedisPool, RedisServer, redis_params, sources
from hypothesis import HealthCheck, settings

import gigapi_metadata as gm
from gigapi_metadata.stores.redis import scripts

CLOCK_KEY = "test-clock"
SERVER_TIME = "tonumber(redis.call('TIME')[1])"
"""How lib.lua reads it."""
START_S = 1_800_000_000
SECOND = 1_000_000_000
OpenIndex = Callable[..., Any]

_SEED = "TEST_SEED"
# Workers of xdist inherit it.
SEED = int(os.environ.setdefault(_SEED, str(random.SystemRandom().randrange(10**9))))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: long runs under load, for `make soak`")
    settings.register_profile(
        "suite",
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("suite")
    # Before Hypothesis's own plugin reads it.
    if getattr(config.option, "hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_report_header() -> str:
    return f"random seed: {SEED} ({_SEED}={SEED} repeats this run)"


@pytest.fixture
def seed() -> int:
    """The seed of this run. Say it in messages of tests that draw from it."""
    return SEED


# Entries


def entry(number: int = 1, **changes: Any) -> gm.IndexEntry:
    """A legal entry of db.t; files of different numbers differ in path, time and size."""
    fields: dict[str, Any] = {
        "database": "db",
        "table": "t",
        "path": path_of(number),
        "size_bytes": 100 + number,
        "min_time": START_S * SECOND + number,
        "max_time": START_S * SECOND + number + 10,
        "row_count": number,
        "chunk_time": START_S * SECOND,
    }
    return gm.IndexEntry(**{**fields, **changes})


def path_of(number: int, iteration: int = 1, dir: str = "date=2027-01-15/hour=08") -> str:
    return f"{dir}/file{number:04}.{iteration}.parquet"


# Backends


class Blocking:
    """An async object, driven from sync code: its coroutine methods block."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.__dict__.update(_target=target, _loop=loop)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name == "submit":
            return lambda *args: self._soon(_awaited(value, *args))
        if inspect.isasyncgenfunction(value):
            return lambda *args, **kwargs: iter(
                self._soon(_collected(value(*args, **kwargs))).result(60)
            )
        if not inspect.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: self._soon(value(*args, **kwargs)).result(60)

    def _soon(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._target, name, value)

    def __repr__(self) -> str:
        return repr(self._target)


async def _awaited(call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await call(*args)


async def _collected(found: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in found]


class Backend:
    """One kind of store, driven in one way. `fresh` empties it and sets its clock back."""

    kind = ""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.now_s = START_S
        self._made: list[Any] = []

    @property
    def is_redis(self) -> bool:
        return self.kind in ("redis", "cluster")

    def fresh(self) -> None:
        raise NotImplementedError

    def advance(self, seconds: int) -> None:
        """Let time pass for every index of this backend."""
        self.now_s += seconds

    def index(self, database: str = "db", table: str = "t", *args: Any, **options: Any) -> Any:
        """A further index on the catalog, closed when the test ends."""
        raise NotImplementedError

    def databases(self) -> Any:
        raise NotImplementedError

    def values(self) -> Any:
        raise NotImplementedError

    def dump(self) -> dict[str, Any]:
        """Everything the store holds that a user could notice, to compare before and after."""
        raise NotImplementedError

    def close(self) -> None:
        while self._made:
            self._made.pop().close()

    def _keep(self, made: Any) -> Any:
        self._made.append(made if self.loop is None else Blocking(made, self.loop))
        return self._made[-1]


class RedisBackend(Backend):
    kind = "redis"

    def __init__(
        self, server: RedisServer | GivenServer, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        super().__init__(loop)
        self.server = server
        self.client = server.client()

    def fresh(self) -> None:
        self.close()
        self.client.flushdb()
        self.now_s = START_S
        self.advance(0)

    def advance(self, seconds: int) -> None:
        super().advance(seconds)
        self.client.set(CLOCK_KEY, self.now_s)

    def index(self, database: str = "db", table: str = "t", *args: Any, **options: Any) -> Any:
        made = gm.AsyncRedisIndex if self.loop else gm.RedisIndex
        return self._keep(made(self.server.url(), database, table, *args, **options))

    def databases(self) -> Any:
        return self._keep((gm.AsyncRedisDBIndex if self.loop else gm.RedisDBIndex)(self._url))

    def values(self) -> Any:
        return self._keep((gm.AsyncRedisKVStore if self.loop else gm.RedisKVStore)(self._url))

    @property
    def _url(self) -> str:
        return self.server.url()

    def dump(self) -> dict[str, Any]:
        return dump_redis(self.client)

    def end(self) -> None:
        self.close()
        self.client.close()


class ClusterBackend(RedisBackend):
    """A cluster. No key can be in every slot, so the scripts are given the time as a number."""

    kind = "cluster"

    def __init__(self, servers: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(servers, loop)
        self._sources = {script: script.source for script in scripts.ALL}
        self._patch = pytest.MonkeyPatch()

    @property
    def _url(self) -> str:
        return str(self.server.url)

    def index(self, database: str = "db", table: str = "t", *args: Any, **options: Any) -> Any:
        made = gm.AsyncRedisIndex if self.loop else gm.RedisIndex
        return self._keep(made(self._url, database, table, *args, **options))

    def fresh(self) -> None:
        self.close()
        self.server.flush()
        self.now_s = START_S
        self.advance(0)

    def advance(self, seconds: int) -> None:
        self.now_s += seconds
        for script, source in self._sources.items():
            assert SERVER_TIME in source
            timed = source.replace(SERVER_TIME, f"tonumber({self.now_s})")
            self._patch.setattr(script, "source", timed)
            self._patch.setattr(script, "sha", hashlib.sha1(timed.encode()).hexdigest())

    def end(self) -> None:
        super().end()
        self._patch.undo()


class SQLiteBackend(Backend):
    kind = "sqlite"

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(loop)
        self._files = (folder / f"catalog{number}.db" for number in itertools.count())
        self.file = next(self._files)

    def fresh(self) -> None:
        self.close()
        self.file = next(self._files)
        self.now_s = START_S

    def index(self, database: str = "db", table: str = "t", *args: Any, **options: Any) -> Any:
        made = gm.AsyncSQLiteIndex if self.loop else gm.SQLiteIndex
        options.setdefault("clock", lambda: self.now_s)
        return self._keep(made(self.file, database, table, *args, **options))

    def databases(self) -> Any:
        return self._keep((gm.AsyncSQLiteDBIndex if self.loop else gm.SQLiteDBIndex)(self.file))

    def values(self) -> Any:
        return self._keep((gm.AsyncSQLiteKVStore if self.loop else gm.SQLiteKVStore)(self.file))

    def dump(self) -> dict[str, Any]:
        if not self.file.exists():
            return {}
        with closing(sqlite3.connect(self.file)) as db:
            names = [
                row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            return {name: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for name in names}

    def end(self) -> None:
        self.close()


class JSONBackend(Backend):
    kind = "json"

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(loop)
        self._roots = (folder / f"catalog{number}" for number in itertools.count())
        self.root = next(self._roots)

    def fresh(self) -> None:
        self.close()
        self.root = next(self._roots)
        self.now_s = START_S

    def index(self, database: str = "db", table: str = "t", *args: Any, **options: Any) -> Any:
        made = gm.AsyncJSONIndex if self.loop else gm.JSONIndex
        options.setdefault("clock", lambda: self.now_s)
        if options.get("layers"):
            # Wherever a test says its layers are: each gets a folder here. The hottest one is the
            # root, where `databases` looks.
            options["layers"] = [
                msgspec.structs.replace(layer, url=str(self.root / f"layer{n}" if n else self.root))
                for n, layer in enumerate(options["layers"])
            ]
        return self._keep(made(self.root, database, table, *args, **options))

    def databases(self) -> Any:
        return self._keep((gm.AsyncJSONDBIndex if self.loop else gm.JSONDBIndex)(self.root))

    def values(self) -> Any:
        return self._keep((gm.AsyncJSONKVStore if self.loop else gm.JSONKVStore)(self.root))

    def dump(self) -> dict[str, Any]:
        files = self.root.rglob("*.json")
        found = {file: file.read_bytes() for file in files if file.name != "journal.json"}
        return {str(file): content for file, content in sorted(found.items())}

    def end(self) -> None:
        self.close()


def dump_redis(client: redis.Redis) -> dict[str, Any]:
    """Every key but receipts (which any write leaves) and the test's clock."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"string": client.get,
    }
    keys = sorted(client.scan_iter(count=1000))
    return {
        key.decode(): readers[client.type(key)](key)
        for key in keys
        if not key.startswith(b"gigapi-metadata:receipt:") and key != CLOCK_KEY.encode()
    }


@pytest.fixture(scope="session")
def background_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="background-loop")
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextmanager
def scripts_with_test_clock() -> Iterator[None]:
    """The scripts read the Unix time from a key, when that is there."""
    with pytest.MonkeyPatch.context() as patch:
        for script in scripts.ALL:
            source = script.source.replace(
                SERVER_TIME, f"tonumber(redis.call('GET', '{CLOCK_KEY}') or redis.call('TIME')[1])"
            )
            assert source != script.source, "lib.lua reads the time in another way by now"
            patch.setattr(script, "source", source)
            patch.setattr(script, "sha", hashlib.sha1(source.encode()).hexdigest())
        yield


def backend_params() -> list[Any]:
    """Every store, blocking and asyncio; asyncio on one kind of server, for what differs by server
    is the scripts, which both send alike."""
    params = []
    for mode in ("sync", "async"):
        params.append(pytest.param(("sqlite", None, mode), id=f"sqlite-{mode}"))
        params.append(pytest.param(("json", None, mode), id=f"json-{mode}"))
        params += [
            pytest.param(("redis", kind.values[0], mode), id=f"{kind.id}-{mode}", marks=kind.marks)
            for kind in redis_params()[: None if mode == "sync" else 1]
        ]
    if any(source.binary for source in sources()):
        # On one worker each, for a cluster takes seconds to start.
        params += [
            pytest.param(
                ("cluster", None, mode), id=f"cluster-{mode}", marks=pytest.mark.xdist_group(mode)
            )
            for mode in ("sync", "async")
        ]
    return params


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", backend_params(), indirect=True)


@pytest.fixture
def backend(
    request: pytest.FixtureRequest,
    redis_pool: RedisPool,
    background_loop: asyncio.AbstractEventLoop,
    tmp_path: Path,
) -> Iterator[Backend]:
    """An empty catalog on each kind of store, sync and async. Its clock stands still."""
    kind, source, mode = request.param
    loop = background_loop if mode == "async" else None
    with ExitStack() as stack:
        made: RedisBackend | ClusterBackend | SQLiteBackend | JSONBackend
        if kind == "redis":
            stack.enter_context(scripts_with_test_clock())
            made = RedisBackend(redis_pool.get(source), loop)
        elif kind == "cluster":
            made = ClusterBackend(request.getfixturevalue("redis_cluster"), loop)
        else:
            made = (SQLiteBackend if kind == "sqlite" else JSONBackend)(tmp_path, loop)
        stack.callback(made.end)
        made.fresh()
        yield made


@pytest.fixture
def open_index(backend: Backend) -> OpenIndex:
    """Call it for an index: `open_index(database="db", table="t", layers=…, …)`."""
    return backend.index
