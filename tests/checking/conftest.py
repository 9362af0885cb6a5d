"""The storage tests' S3 server and the Go-like writer are ours too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "storage"), str(TESTS / "redis"), str(TESTS / "worker")]

from check_lab import Lake, stores  # noqa: E402
from fix_redis import RedisPool  # noqa: E402
from s3_lab import S3Lab, s3, s3_server  # noqa: E402

__all__ = ["S3Lab", "s3", "s3_server"]


@pytest.fixture(params=stores())
def lake(request: pytest.FixtureRequest, tmp_path: Path, redis_pool: RedisPool) -> Iterator[Lake]:
    """An empty lake of two local layers, with its catalog in each kind of store."""
    kind, source = request.param
    url = {"sqlite": f"sqlite://{tmp_path}/catalog.db", "json": "json://"}.get(kind, "")
    if kind == "redis":
        server = redis_pool.get(source)
        server.flush()
        url = server.url()
    with Lake(kind, url, tmp_path) as made:
        yield made
