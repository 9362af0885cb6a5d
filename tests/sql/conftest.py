"""A lake for the tests that only read, shared; and S3."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "storage"))

from s3_lab import s3, s3_server
from sql_lab import BruteForce, fill

from gigapi_metadata import Catalog, connect

__all__ = ["s3", "s3_server"]


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sql") / "lake"
    root.mkdir()
    with connect(root) as catalog:
        fill(root, catalog)
    return root


@pytest.fixture(scope="session")
def catalog(lake: Path) -> Iterator[Catalog]:
    with connect(lake) as found:
        yield found


@pytest.fixture(scope="session")
def direct(lake: Path) -> BruteForce:
    return BruteForce(lake)
