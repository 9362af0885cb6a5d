"""Whatever parses what others wrote: any input gives a value or one of our errors - never another
exception, never memory out of proportion to what was read.

Small by default; `make soak` tries some seventy times as much. Inputs are pieces of the grammar at
hand put together at random, and mutations of legal ones.
"""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fix_stores import entry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gigapi_metadata import IndexEntry, Layer, MetadataError, connect
from gigapi_metadata.catalog import check_url, parse
from gigapi_metadata.cli import main
from gigapi_metadata.cli.times import parse_time
from gigapi_metadata.config import load, parse_duration, parse_layer, parse_size
from gigapi_metadata.names import check_name, check_path
from gigapi_metadata.parquet_footer import FooterError, parse_footer
from gigapi_metadata.parquet_stats import column_bounds
from gigapi_metadata.storage import Storages
from gigapi_metadata.stores.base import QueueRef, TableRef
from gigapi_metadata.stores.json import journal, partition, queues
from gigapi_metadata.stores.json.places import Places
from gigapi_metadata.stores.redis import documents
from gigapi_metadata.stores.redis.connection import RedisConnection
from gigapi_metadata.stores.redis.queues import QueueList, plans_from, plans_in
from gigapi_metadata.timerange import INT64_MAX, INT64_MIN
from gigapi_metadata.urls import hide

SECRET = "Zs3cr3tQ"
TABLE = TableRef("db", "t")
FEW, MANY = 60, 4_000


# Inputs


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """`seed` with some bytes replaced, removed, put in or doubled, or cut off."""
    at = st.integers(0, max(len(seed) - 1, 0))
    change = st.tuples(at, st.integers(0, 12), st.binary(max_size=9), st.booleans())

    def apply(changes: list[tuple[int, int, bytes, bool]]) -> bytes:
        data = seed
        for where, length, piece, doubles in changes:
            middle = data[where : where + length] * 3 if doubles else piece
            data = data[:where] + middle + data[where + length :]
        return data

    return st.lists(change, min_size=1, max_size=6).map(apply)


def texts(*pieces: str) -> st.SearchStrategy[str]:
    """Pieces of a grammar and anything else, put together."""
    anything = st.text(max_size=6)
    special = st.sampled_from(
        ["", "\x00", "\n", "％", "..", "//", "@", ":", "?", "#", "%", "[", "]"]
    )
    large = st.sampled_from(
        ["9" * 30, "9" * 5000, "x" * 10_000, "1e999", "nan", "-0", "é", "\ud800"]
    )
    piece = st.one_of(st.sampled_from(pieces), anything, special, large)
    return st.lists(piece, max_size=9).map("".join)


URLS = texts(
    *("redis://", "rediss://", "unix://", "valkey://", "sqlite:///", "json://", "s3://", "file://"),
    *("localhost", "user", f":{SECRET}@", "6379", "/0", "?db=1", "&", "=", "socket_timeout", "."),
    *(
        "ssl_cert_reqs=none",
        "max_connections=5",
        "secure=false",
        "region=",
        "url-style=path",
        "ttl=",
    ),
    *(
        "protocol=3",
        "password=",
        "hot=",
        ",",
        "bucket",
        "[::1]",
        "./lake",
        "lake.db",
        "/abs",
        "10m",
    ),
    *(
        "ssl_keyfile=",
        "ssl_ca_certs=",
        "client_name=",
        "health_check_interval=",
        "socket_keepalive=",
    ),
)
TIMES = texts(
    *("-", "+", "now", "1", "90", ".", "s", "m", "h", "d", "w", "ns", "T", "Z", ":", "+02:00"),
    *("2024-01-15", "0001-01-01", "9999-12-31", "23:59:60", "1705327200", ",5", " "),
)
SIZES = texts(
    "1", "10", ".", "5", "s", "m", "h", "ns", "us", "KiB", "MB", "GiB", "B", " ", "-", "e"
)
NAMES = texts(
    "db", "readings", "*", "?", "[a-z]", "..", "/", "\\", ":", ".", "／", "․․", "~", "'", '"', ";"
)
PATHS = texts(
    "date=2024-01-15", "/", "hour=00", "x.1.parquet", "..", ".", "\\", "//", "／", "%2e", "*"
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["1", "-1", "9" * 400, "", "date=2024-01-15/hour=00/x.1.parquet", "ADD", "x"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def objects(*fields: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(fields), JSON_VALUES, max_size=len(fields))


def json_bytes(seed: dict[str, Any], *more: str) -> st.SearchStrategy[bytes]:
    """JSON like `seed`: with fields of other kinds, or damaged, or no JSON at all."""
    changed = objects(*seed, *more).map(lambda change: json.dumps({**seed, **change}).encode())
    deep = st.sampled_from(
        [b"[" * 100_000, b'{"min":' * 50_000, b'{"min":' + b"[" * 3000 + b"]" * 3000 + b"}"]
    )
    return st.one_of(changed, mutated(json.dumps(seed).encode()), deep, st.binary(max_size=40))


DOCUMENT = json.loads(documents.encode(entry(1, min_data={"v": 1}, max_data={"v": 2})))
ITEM = {
    "id": "a",
    "time_s": 1,
    "paths": ["date=2024-01-15/hour=00/x.1.parquet"],
    "size": 5,
    "path": "date=2024-01-15/hour=00/x.1.parquet",
    "path_from": "date=2024-01-15/hour=00/x.1.parquet",
    "path_to": "date=2024-01-15/hour=00/y.1.parquet",
    "layer_to": "cold",
}
FILE = {
    **dict.fromkeys(("size_bytes", "row_count", "min_time", "max_time", "chunk_time", "id"), 1),
    "path": "date=2024-01-15/hour=00/x.1.parquet",
    "min": {"v": 1},
    "max": None,
    "layer": "",
    "writer_id": "",
}
DROP = {
    "writer_id": "",
    "layer": "",
    "database": "db",
    "table": "t",
    "path": FILE["path"],
    "time_s": 1,
}
METADATA = {
    "type": "t",
    "parquet_size_bytes": 1,
    "row_count": 1,
    "min_time": 1,
    "max_time": 1,
    "wal_sequence": 0,
    "drop_queue": [DROP, "x", {"WriterID": ""}],
    "files": [FILE],
}


def footer() -> bytes:
    """The footer of a real file with many kinds of columns."""
    table = pa.table(
        {
            "__timestamp": pa.array([1, 2], pa.int64()),
            "text": ["a", "b"],
            "list": [[1], [2, 3]],
            "price": pa.array([1, 2], pa.int32()).cast(pa.decimal128(12, 2)),
            "at": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "struct": [{"x": 1.5}, {"x": None}],
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    data = file.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


FOOTER = footer()


# What is done with them


def redis_url(text: str) -> None:
    RedisConnection(text).close()


def catalog_url(text: str) -> None:
    check_url(text)
    target = parse(text)
    if target.module != "redis" and len(target.address) < 1000:
        with connect(text) as catalog:
            catalog.databases()


def layer_url(text: str) -> None:
    Storages([Layer(text, "hot", "s3" if text.startswith("s3") else "fs")]).table("hot", "db", "t")


def hidden(text: str) -> None:
    """What is shown of a URL, and what an error says of it, holds no password."""
    assert SECRET not in hide(f"redis://user:{SECRET}@{text}")
    assert SECRET not in hide(f"s3://{SECRET}:{SECRET}@{text}")
    assert SECRET not in message_of(redis_url, f"redis://user:{SECRET}@{text}")
    assert SECRET not in message_of(layer_url, f"s3://user:{SECRET}@{text}")


def message_of(use: Callable[[str], None], text: str) -> str:
    """What the error says, "" without one."""
    try:
        use(text)
    except MetadataError as fault:
        return str(fault)
    return ""


def time_of(text: str) -> None:
    try:
        found = parse_time(text, 1_700_000_000 * 10**9)
    except ValueError:
        return
    assert INT64_MIN <= found <= INT64_MAX


def name(text: str) -> None:
    assert check_name("table", text) == text
    assert os.path.normpath(os.path.join("/root", text)) == f"/root/{text}"
    assert not set(text) & set(":*?[]/\\\n\0")


def path(text: str) -> None:
    assert check_path(text) == text
    assert os.path.normpath(os.path.join("/root", text)) == f"/root/{text}"


def document(data: bytes) -> None:
    assert isinstance(documents.decode(data, "files:db:t:x"), IndexEntry)


def queue_items(data: bytes) -> None:
    for kind in ("merge", "move", "drop"):
        queue = QueueList(kind, "", 1, "hot", "", False, "key")
        list(plans_in(queue, [data], {b"a": data}))


def leased_items(data: bytes) -> None:
    """As lease.lua passes them on: what it has looked at is right, the rest is as it was."""
    handed = {
        "item": data.decode("utf-8", "replace"),
        "dir": "date=2024-01-15/hour=00",
        "owner": "",
        "attempts": 0,
        "due_s": 1,
        "paths": ["date=2024-01-15/hour=00/x.1.parquet"],
    }
    for kind in ("merge", "move", "drop"):
        plans_from(TABLE, QueueRef(kind, "hot", "", 1), msgspec.json.encode([handed]))


def metadata(data: bytes) -> None:
    for older in (False, True):
        found = partition.decode(
            data, "metadata.json", TABLE, "", "date=2024-01-15/hour=00", older=older
        )
        for each in found.files.values():
            with suppress(*partition.Fault):  # the store names the file then
                assert isinstance(each.entry, IndexEntry)
        found.copy().encode(TABLE)


def plans_file(data: bytes) -> None:
    queues.decode(data, ".gigapi-plans.json")


def journal_file(data: bytes) -> None:
    places = Places(".").table(TABLE)
    os.makedirs(places.home, exist_ok=True)
    Path(places.journal).write_bytes(data)
    journal.read(places).moved(places)


def footer_bytes(data: bytes) -> None:
    column_bounds(parse_footer(data))


def parquet_file(data: bytes) -> None:
    folder = Path("data/date=2024-01-15")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "x.1.parquet"
    file.write_bytes(b"PAR1" + data + len(data).to_bytes(4, "little") + b"PAR1")
    IndexEntry.from_parquet(file, root="data", database="db", table="t")


def config_file(suffix: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        Path(f"config{suffix}").write_bytes(data)
        load(f"config{suffix}", {}).catalog_url(default="")

    return read


def environment(text: str) -> None:
    text = text.replace("\0", "")
    for variable in (
        "METADATA_URL",
        "METADATA_TYPE",
        "ROOT",
        "MERGE_TIMEOUT_S",
        "LAYERS_0_TTL",
        "LAYERS_0_URL",
    ):
        try:
            load(None, {f"GIGAPI_{variable}": text, "GIGAPI_LAYERS_0_NAME": "hot"})
        except MetadataError:
            continue


def import_file(data: bytes) -> None:
    Path("in.ndjson").write_bytes(data + b"\n")
    command("import", "in.ndjson", "--dry-run")


def command(*words: str) -> None:
    """A command of the program; what it prints is looked at by `check`."""
    assert main(["--catalog", "sqlite:///lake.db", *words]) in (0, 1, 2, 3)


def time_option(text: str) -> None:
    command("files", "db.t", f"--after={text}")


YAML = b"""gigapi:
  root: /data
  layers:
    - {name: hot, url: 'file:///x', ttl: 10m}
  metadata: {type: redis, url: 'redis://x'}
"""
TOML = b"""catalog = "sqlite:///lake.db"
merge_configurations = [[10, "100MiB", 1]]
[[layers]]
name = "hot"
url = "/x"
ttl = "1h"
"""
CONFIG = {
    "root": "/x",
    "metadata": {"type": "json"},
    "layers": [{"name": "hot", "url": "/x", "ttl": "1h"}],
    "merge_configurations": [[1, 1, 1]],
    "merge_timeout_s": 10,
}
LINE = {"type": "entry", "database": "db", "table": "t", **FILE}


class Target(NamedTuple):
    inputs: st.SearchStrategy[Any]
    use: Callable[[Any], object]


TARGETS = {
    "redis URLs": Target(URLS, redis_url),
    "catalog URLs": Target(URLS, catalog_url),
    "layer URLs": Target(URLS, layer_url),
    "layer options": Target(URLS, parse_layer),
    "passwords": Target(URLS, hidden),
    "times": Target(TIMES, time_of),
    "time options": Target(TIMES, time_option),
    "durations": Target(SIZES, parse_duration),
    "sizes": Target(SIZES, parse_size),
    "names": Target(NAMES, name),
    "paths": Target(PATHS, path),
    "entry documents": Target(json_bytes(DOCUMENT), document),
    "queue items": Target(json_bytes(ITEM), queue_items),
    "leased items": Target(json_bytes(ITEM), leased_items),
    "metadata.json": Target(
        json_bytes(METADATA)
        | json_bytes(FILE).map(
            lambda file: b'{"files":[' + file + b'],"drop_queue":[' + file + b"]}"
        ),
        metadata,
    ),
    "plan files": Target(json_bytes({"version": 1, "last_id": 1, "plans": [ITEM]}), plans_file),
    "journals": Target(json_bytes({"sequence": 1, "pending": [["", "a", "b"]]}), journal_file),
    "footers": Target(mutated(FOOTER) | st.binary(max_size=60), footer_bytes),
    "parquet files": Target(mutated(FOOTER), parquet_file),
    "yaml": Target(mutated(YAML), config_file(".yaml")),
    "toml": Target(mutated(TOML), config_file(".toml")),
    "json": Target(json_bytes(CONFIG), config_file(".json")),
    "variables": Target(URLS | SIZES, environment),
    "exported lines": Target(json_bytes(LINE), import_file),
}


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", TARGETS)
def test_any_input_gives_a_value_or_an_error_of_ours(
    name: str,
    examples: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    target = TARGETS[name]

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def check(value: Any) -> None:
        try:
            with suppress(MetadataError, FooterError):
                target.use(value)
        except Exception as fault:  # in ASCII: a report with half a surrogate pair can't be sent
            raise AssertionError(ascii(fault), ascii(value)[:2000]) from None
        shown = capsys.readouterr()
        assert "unexpected" not in shown.err
        assert "Traceback" not in shown.err

    check()


BOMBS = {
    "entry documents": b'{"min":' + b"[" * 10**6,
    "queue items": b'{"paths":[' + b'"x",' * 10**5,
    "metadata.json": b'{"files":[' + b"{" * 10**6,
    "footers": b"\x29\xfc" + b"\xff" * 8 + b"\x0f" + b"\x0c" * 50,
    "yaml": b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"a%d: &a%d [%b]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)
    ),
    "toml": b"a = " + b"[" * 200_000,
    "json": b"[" * 500_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_input_makes_us_take_memory_without_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises((MetadataError, FooterError)):
            TARGETS[name].use(BOMBS[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000 + 40 * len(BOMBS[name])
