"""Storages to test: one suite runs over each."""

from __future__ import annotations

from pathlib import Path

import pytest
from s3_lab import S3Lab, s3, s3_server

from gigapi_metadata import Layer
from gigapi_metadata.storage import Storages
from gigapi_metadata.storage.base import Storage

__all__ = ["s3", "s3_server"]


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        (tmp_path / "root").mkdir()
        return Storages(None, tmp_path / "root").table("", "db", "t")
    lab: S3Lab = request.getfixturevalue("s3")
    return Storages([Layer(lab.url(), "cold", "s3")]).table("cold", "db", "t")
