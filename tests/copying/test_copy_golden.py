"""What GigAPI wrote, from its Redis into every other kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fix_golden
import pytest
import redis
from copy_lab import copy

from gigapi_metadata import connect
from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying import tables_of


def entries(catalog: Catalog) -> dict[str, str]:
    found = {name: catalog.table(*name).get_all() for name in tables_of(catalog)}
    return {".".join(name): repr(each) for name, each in found.items() if each}


def plans(catalog: Catalog) -> list[Any]:
    """What each distinct plan is about. GigAPI's ids repeat, and its folders hold none of drops."""
    found = {
        (each.kind, each.layer, each.writer_id, tuple(each.paths), each.due_s, each.path_to)
        for name in tables_of(catalog)
        for each in catalog.table(*name).plans()
    }
    return sorted(found)


@pytest.mark.parametrize("name", fix_golden.golden_cases("redis"))
def test_from_its_redis(name: str, tmp_path: Path, redis_url: str) -> None:
    case = fix_golden.load(name)
    with redis.Redis.from_url(redis_url) as client:
        fix_golden.restore(client, case.get("dump") or case["dump_before"])
    source = connect(redis_url, merge_configurations=[])
    expected = (entries(source), plans(source))
    for url in (tmp_path / "to.db", f"json://{tmp_path}/folders", tmp_path / "last.db"):
        target = connect(url, merge_configurations=[])
        copy(source, target)
        assert (entries(target), plans(target)) == expected, url
        source.close()
        source = target
    source.close()
