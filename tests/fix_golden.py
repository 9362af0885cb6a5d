"""Recorded cases of GigAPI's own engine: `*.json.gz`, described in the last section of FORMAT.

They lie beside the repository (`../shared/golden`, or `$GIGAPI_GOLDEN`) and tests must not need
them: without the folder, the tests over them are skipped and say so.

    @pytest.mark.parametrize("case", golden_cases("redis_"))
    def test_reads_what_go_wrote(case: str, redis_url: str) -> None:
        golden = load(case)
        restore(client, golden["dump"])
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis

from gigapi_metadata.model import IndexEntry, Layer

SUFFIX = ".json.gz"
Dump = dict[str, dict[str, Any]]
"""Every key of a database: {key: {"type", "value"}}, a string's bytes as {"type", "base64"}."""


def golden_folder() -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared" / "golden"
    return Path(os.environ.get("GIGAPI_GOLDEN") or beside)


def golden_cases(prefix: str) -> list[Any]:
    """The names of the cases that begin with `prefix`, as parameters of a test; one that is
    skipped when the folder is absent.

    Raises:
        LookupError: the folder is there, such a case is not.
    """
    folder = golden_folder()
    if not folder.is_dir():
        skip = pytest.mark.skip(reason=f"no recorded cases in {folder} (set $GIGAPI_GOLDEN)")
        return [pytest.param("", id="no-golden-folder", marks=skip)]
    names = sorted(file.name.removesuffix(SUFFIX) for file in folder.glob(f"{prefix}*{SUFFIX}"))
    if not names:
        raise LookupError(f"no case in {folder} begins with {prefix!r}")
    return [pytest.param(name, id=name) for name in names]


def load(name: str) -> dict[str, Any]:
    """The case `name`: a fresh copy, to be changed at will."""
    case: dict[str, Any] = json.loads(_unpacked(golden_folder() / f"{name}{SUFFIX}"))
    return case


@cache
def _unpacked(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes())


def entry(record: Mapping[str, Any]) -> IndexEntry:
    """An entry as `ops`, `swap` and `gets` hold it."""
    fields = {
        "min_data" if k == "min" else "max_data" if k == "max" else k: v for k, v in record.items()
    }
    return IndexEntry(**fields)


def layers(opened: Mapping[str, Any], root: str | os.PathLike[str] = "ROOT") -> list[Layer]:
    """The layers of a case's `open`; `root` stands in for the ROOT of the `json_*` cases."""
    return [
        Layer(**{**layer, "url": layer["url"].replace("ROOT", os.fspath(root))})
        for layer in opened["layers"]
    ]


def restore(client: redis.Redis, dump: Dump) -> None:
    """Write every key of `dump`, beside what the database holds."""
    with client.pipeline() as batch:
        for key, item in dump.items():
            if item["type"] == "hash":
                batch.hset(key, mapping=item["value"])
            elif item["type"] == "list":
                batch.rpush(key, *item["value"])
            else:
                batch.set(key, base64.b64decode(item["base64"]))
        batch.execute()


def dump(client: redis.Redis) -> Dump:
    """All keys of the client's database, in the shape that `restore` takes.

    `client` must not decode responses. Not atomic: nobody may be writing.
    """
    result: Dump = {}
    for key in sorted(map(_text, client.scan_iter(count=1000))):
        kind = _text(client.type(key))
        item: dict[str, Any] = {"type": kind}
        if kind == "hash":
            item["value"] = {_text(k): _text(v) for k, v in client.hgetall(key).items()}
        elif kind == "list":
            item["value"] = [_text(each) for each in client.lrange(key, 0, -1)]
        elif kind == "string":
            raw = client.get(key)
            assert isinstance(raw, bytes)
            item["base64"] = base64.b64encode(raw).decode()
        else:
            raise TypeError(f"{key!r} is a {kind}, which the format does not use")
        result[key] = item
    return result


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode()
