"""connect() without a URL opens what the environment says; with one it looks at nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigapi_metadata import connect, connect_async
from gigapi_metadata.errors import InvalidConfiguration
from gigapi_metadata.model import DEFAULT_MERGE_CONFIGURATIONS, Layer, MergeConfiguration

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("METADATA_TYPE", "METADATA_URL", "ROOT", "MERGE_TIMEOUT_S", "LAYERS_0_NAME"):
        monkeypatch.delenv(f"GIGAPI_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_URL", f"sqlite:///{tmp_path}/lake.db")
    monkeypatch.setenv("GIGAPI_ROOT", "/data")
    monkeypatch.setenv("GIGAPI_MERGE_TIMEOUT_S", "60")


@pytest.mark.usefixtures("environment")
def test_without_a_url_it_is_what_the_environment_says(tmp_path: Path) -> None:
    with connect() as catalog:
        assert catalog.layers == [Layer("/data", "default")]
        rows = catalog.table("db", "t").merge_configurations
        assert list(rows)[:2] == [
            MergeConfiguration(60, 100 * 2**20, 1),
            MergeConfiguration(600, 400 * 2**20, 2),
        ]
        catalog.kv.put("key", b"value")
    assert (tmp_path / "lake.db").is_file()


@pytest.mark.usefixtures("environment")
def test_what_is_passed_goes_before_the_environment() -> None:
    with connect(layers=[Layer("/mine", "mine")], merge_configurations=[[1, 2, 1]]) as catalog:
        assert catalog.layers == [Layer("/mine", "mine")]
        rows = catalog.table("db", "t").merge_configurations
        assert list(rows) == [MergeConfiguration(1, 2, 1)]
    with connect(layers=[]) as catalog:
        assert catalog.layers == []


@pytest.mark.usefixtures("environment")
def test_with_a_url_the_environment_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGAPI_MERGE_TIMEOUT_S", "not even looked at")
    with connect(tmp_path / "mine.db") as catalog:
        assert catalog.layers == []
        rows = catalog.table("db", "t").merge_configurations
        assert tuple(rows) == DEFAULT_MERGE_CONFIGURATIONS
        catalog.kv.put("key", b"value")
    assert not (tmp_path / "lake.db").exists()


@pytest.mark.usefixtures("environment")
async def test_the_same_awaitable(tmp_path: Path) -> None:
    async with connect_async() as catalog:
        assert catalog.layers == [Layer("/data", "default")]
    async with connect_async(tmp_path / "mine.db") as catalog:
        assert catalog.layers == []


def test_nothing_is_configured() -> None:
    for door in (connect, connect_async):
        with pytest.raises(InvalidConfiguration, match=r"no catalog is configured: name its URL"):
            door()
    with pytest.raises(InvalidConfiguration, match="empty"):
        connect("")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://lake.db", "^environment: GIGAPI_METADATA_URL: .* names a host"),
        (f"redis://me:{SECRET}@h/zero", "^environment: GIGAPI_METADATA_URL: .* must be a number"),
        (f"mysql://me:{SECRET}@h", "^GIGAPI_METADATA_URL is 'mysql://me:.*; it must be redis://"),
    ],
)
def test_a_wrong_url_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("GIGAPI_METADATA_URL", url)
    for door in (connect, connect_async):
        with pytest.raises(InvalidConfiguration, match=message) as caught:
            door()
        assert SECRET not in str(caught.value)


def test_a_wrong_url_that_was_passed_names_no_variable() -> None:
    with pytest.raises(InvalidConfiguration, match=r"^sqlite://lake\.db names a host"):
        connect("sqlite://lake.db")
