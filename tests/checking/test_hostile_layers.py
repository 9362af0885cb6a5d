"""A layer that somebody else changes while its files are read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from check_lab import DAY, Lake

from gigapi_metadata import IndexEntry
from gigapi_metadata.scan.reading import Source, read_file


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake("sqlite", f"sqlite://{tmp_path}/catalog.db", tmp_path)


@pytest.mark.parametrize("level", ["db", "db/t", "db/t/data", f"db/t/data/{DAY}", "hour=23"])
def test_a_folder_swapped_for_a_link_after_it_was_listed(
    lake: Lake, tmp_path: Path, level: str
) -> None:
    with lake:
        paths = [lake.write("a.1"), lake.write("b.1", 23)]
        storage = lake.storages.table("hot", "db", "t")
        read = lake.footers.read(storage, ("db", "t"), "hot", storage.walk(DAY), raw=True)
        outcome, footer = next(read)
        assert isinstance(outcome, IndexEntry)
        assert (outcome.path, bool(footer)) == (paths[0], True)
        swapped = tmp_path / "hot" / level
        if level == "hour=23":
            swapped = lake.file(paths[1]).parent
        swapped.rename(tmp_path / "outside")
        swapped.symlink_to(tmp_path / "outside")
        outcome, footer = next(read)
        assert isinstance(outcome, str)
        assert "symbolic link" in outcome
        assert footer == b""


def test_a_scan_opens_no_link_unless_it_is_to_follow_them(lake: Lake, tmp_path: Path) -> None:
    with lake:
        path = lake.write("a.1")
    data = tmp_path / "hot" / "db" / "t" / "data"
    (data / DAY).rename(tmp_path / "outside")
    (data / DAY).symlink_to(tmp_path / "outside")
    source = Source(os.fspath(data), "db", "t", None, "hot", "", ())
    assert "symbolic link" in str(read_file(source, path))
    assert isinstance(read_file(source._replace(below=None), path), IndexEntry)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[None]:
    yield
    # pytest itself can't remove folders that are deeper than a path can say.
    subprocess.run(["rm", "-rf", tmp_path / "hot"], check=True)


@pytest.mark.usefixtures("deep")
def test_folders_of_any_depth_stop_nothing(lake: Lake) -> None:
    with lake:
        path = lake.write("a.1")
        folder = os.open(lake.file(path).parent, os.O_RDONLY)
        for _ in range(1500):  # deeper than a path can say
            os.mkdir("d", dir_fd=folder)
            inner = os.open("d", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(folder)
        report = lake.rebuild()
        assert report.registered == 1
        (bad,) = report.bad
        assert bad.path.endswith("/d//*.parquet")
