"""The test equipment itself: a fixture that lies makes every test over it worthless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import fix_redis
import pytest
import redis
from fix_golden import dump, entry, golden_cases, layers, load, restore
from fix_redis import GivenServer, RedisPool, RedisServer, Source, redis_params
from hypothesis import given
from hypothesis import strategies as st

from gigapi_metadata.validation import check_entry

NewServer = Callable[..., RedisServer]


def ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())


def reachable(url: str) -> bool:
    try:
        return ping(url)
    except redis.ConnectionError:
        return False


# Servers


def test_a_server_answers_on_its_port_and_its_socket(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    assert ping(server.url())
    assert ping(server.socket_url())
    with server.client() as client:
        info = client.info("server")
    assert server.version in (info["redis_version"], info.get("valkey_version"))


def test_a_server_comes_back_on_the_same_port_and_empty(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    url = server.url()
    for end in (server.stop, server.kill):
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
        end()
        assert not reachable(url)
        server.start()
        with redis.Redis.from_url(url) as client:
            assert client.get("key") is None
    server.restart()
    assert server.url() == url
    assert ping(url)


def test_a_server_may_be_restarted_by_a_thread_that_ends(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    thread = threading.Thread(target=server.restart)
    thread.start()
    thread.join()
    assert ping(server.url())


def test_private_servers_are_distinct(new_redis_server: NewServer) -> None:
    one, other = new_redis_server(), new_redis_server()
    assert one.port != other.port
    with one.client() as client, other.client() as stranger:
        client.set("key", "value")
        assert stranger.get("key") is None


def test_arguments_and_settings_reach_the_server(new_redis_server: NewServer) -> None:
    server = new_redis_server("--databases", "3")
    server.config(maxmemory_policy="allkeys-lru")
    with server.client() as client:
        assert client.config_get("databases") == {"databases": "3"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_a_paused_server_answers_nobody_and_can_be_stopped(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    server.pause()
    with (
        redis.Redis.from_url(server.url(), socket_timeout=0.05, retry=None) as client,
        pytest.raises(redis.TimeoutError),
    ):
        client.ping()
    server.resume()
    assert ping(server.url())
    server.pause()
    server.stop()


def test_the_log_is_shown_when_a_server_does_not_start(new_redis_server: NewServer) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with code.*no-such-setting"):
        new_redis_server("--no-such-setting", "1")


def test_servers_die_with_the_process_that_started_them(new_redis_server: NewServer) -> None:
    binary, version = new_redis_server()._args[0], new_redis_server().version
    program = (
        "import os, pathlib, signal, sys; sys.path.insert(0, sys.argv[1]); import fix_redis\n"
        "source = fix_redis.Source('x', '', sys.argv[3], binary=pathlib.Path(sys.argv[2]))\n"
        "print(fix_redis.RedisServer(source).url(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    tests = os.fspath(Path(__file__).parent)
    command = [sys.executable, "-c", program, tests, binary, version]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert child.returncode == -signal.SIGKILL
    url, deadline = child.stdout.strip(), time.monotonic() + 10
    while reachable(url):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("turn", [1, 2])
def test_a_url_is_of_an_empty_server(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", turn)


@pytest.mark.parametrize("source", redis_params(private=True))
def test_a_pool_starts_each_server_once(redis_pool: RedisPool, source: Source | None) -> None:
    assert redis_pool.get(source) is redis_pool.get(source)


def test_of_a_given_server_only_the_named_database_is_flushed(new_redis_server: NewServer) -> None:
    server = new_redis_server()
    given_server = GivenServer(Source("TEST_REDIS_URL", "", url=server.url(9)))
    for db in (0, 9):
        with server.client(db) as client:
            client.set("key", "value")
    given_server.flush()
    with server.client(0) as others, given_server.client() as ours:
        assert others.dbsize() == 1
        assert ours.dbsize() == 0
    with pytest.raises(pytest.skip.Exception):
        given_server.url(1)


@pytest.mark.parametrize(("required", "outcome"), [("1", {"errors": 2}), ("0", {"skipped": 2})])
def test_a_missing_server_is_never_silent(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    required: str,
    outcome: dict[str, int],
) -> None:
    monkeypatch.setattr(fix_redis, "sources", tuple)
    monkeypatch.setenv("REQUIRE_REDIS", required)
    pytester.makepyfile("def test_a(redis_url): ...\ndef test_b(new_redis_server): ...")
    result = pytester.runpytest_inprocess("-p", "fix_redis", "-rs")
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines(["redis servers: none", "*pip install -e '.?test?'*"])


@pytest.mark.parametrize("url", ["redis://localhost:6379", "redis://localhost:6379/"])
def test_a_given_url_must_name_its_database(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TEST_REDIS_URL", url)
    with pytest.raises(pytest.UsageError, match="must name a database"):
        fix_redis.sources.__wrapped__()


# Async tests


def test_a_coroutine_that_fails_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from hypothesis import given, settings, strategies as st

        @pytest.fixture
        def one():
            return 1

        @pytest.mark.parametrize("two", [2])
        async def test_passes(one, two):
            await asyncio.sleep(0)
            assert one + two == 3

        async def test_fails(one):
            await asyncio.sleep(0)
            assert one == 2

        class TestClass:
            async def test_in_class_fails(self, one):
                await asyncio.sleep(0)
                assert one == 2

        @settings(database=None, derandomize=True)
        @given(st.integers())
        async def test_property_fails(number):
            await asyncio.sleep(0)
            assert number < 100
        """
    )
    result = pytester.runpytest_inprocess("-p", "fix_async")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["*number=100*"])


@given(number=st.integers())
async def test_properties_may_be_coroutines(number: int) -> None:
    assert isinstance(number, int)


# Recorded cases


@pytest.mark.parametrize("case", golden_cases("redis_"))
def test_a_dump_comes_back_as_it_was(case: str, redis_url: str) -> None:
    golden = load(case)
    with redis.Redis.from_url(redis_url) as client:
        for name in (name for name in golden if name.startswith("dump")):
            client.flushdb()
            restore(client, golden[name])
            assert dump(client) == golden[name]


@pytest.mark.parametrize("case", golden_cases(""))
def test_recorded_values_are_ours(case: str) -> None:
    golden = load(case)
    if "open" not in golden:
        return  # the key-value case has neither layers nor entries
    opened = golden["open"]
    tiers = layers(opened, "/lake")
    assert [tier.name for tier in tiers] == [layer["name"] for layer in opened["layers"]]
    assert not any("ROOT" in tier.url for tier in tiers)
    records = [record for op in golden["ops"] for record in op["add"]]
    assert records
    for record in records:
        if record["path"].endswith("broken.parquet"):
            continue  # the mishap that `redis_scars` is about
        ours = entry(record)
        assert check_entry(ours, opened["database"], opened["table"]) is ours
        assert (ours.min, ours.max) == (record["min"], record["max"])
        assert ours.max_time == record["max_time"]


def test_without_the_folder_a_case_is_skipped_aloud(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGAPI_GOLDEN", "/nowhere")
    pytester.makepyfile(
        """
        import pytest
        from fix_golden import golden_cases

        @pytest.mark.parametrize("case", golden_cases("redis_"))
        def test_case(case): ...
        """
    )
    result = pytester.runpytest_inprocess("-p", "fix_golden", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no recorded cases in /nowhere*"])
