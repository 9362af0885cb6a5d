"""Where files lie: layers and their URLs, names, symbolic links, catalogs by URL."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from json_lab import HOURS, Clock, contents, data, index, made, tiers

from gigapi_metadata import (
    AsyncJSONIndex,
    AsyncJSONKVStore,
    InvalidConfiguration,
    InvalidEntry,
    InvalidName,
    JSONConnection,
    JSONDBIndex,
    JSONIndex,
    JSONKVStore,
    Layer,
    StoreError,
    connect,
    connect_async,
)
from gigapi_metadata.stores.json.places import MAX_DEPTH

S3 = Layer("s3://key:secret@host/bucket/prefix", "far", type="s3")


@pytest.mark.parametrize("url", ["file://{0}/hot", "{0}/hot", "file://./hot", "./hot", "hot"])
def test_a_layers_url_names_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    table = JSONIndex("root", "db", "t", [Layer(url.format(tmp_path), "hot")])
    monkeypatch.chdir("/")
    table.batch([made(1, layer="hot")])
    assert (tmp_path / "hot/db/t/data" / HOURS[0] / "metadata.json").exists()
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("url", ["", "file://", "s3://bucket/x", "http://host/x", "a\0b"])
def test_an_fs_layer_must_be_a_folder(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="'hot'"):
        JSONIndex(tmp_path, "db", "t", [Layer(url, "hot")])


def test_two_layers_may_not_share_a_folder(tmp_path: Path) -> None:
    layers = [Layer(str(tmp_path / "a"), "hot"), Layer(f"file://{tmp_path}/a/", "cold")]
    with pytest.raises(InvalidConfiguration, match="same folder"):
        JSONIndex(tmp_path, "db", "t", layers)


def test_entries_of_an_s3_layer_are_kept_out_of_gigapis_sight(tmp_path: Path) -> None:
    clock = Clock()
    layers = [Layer(str(tmp_path), "hot", ttl_sec=60), S3]
    table = JSONIndex(tmp_path, "db", "t", layers, [], clock=clock)
    table.batch([made(1, layer="hot"), made(2, layer="far")])
    clock.now_s += 60
    plan = table.get_move_plan("", "hot")
    assert plan is not None
    moved = made(1, path=plan.path_to, layer="far")
    table.complete_move(plan, moved)
    assert {each.path for each in table.get_all()} == {moved.path, made(2).path}
    assert table.get(moved.path, "far") == moved
    assert JSONDBIndex(tmp_path, layers).paths("db", "t") == [HOURS[0]]
    visible = [p for p in tmp_path.rglob("metadata.json") if ".gigapi" not in p.parts]
    assert len(visible) == 1
    assert "far" not in visible[0].read_text()
    assert b"secret" not in b"".join(contents(tmp_path).values())


def test_a_table_of_s3_layers_only_lives_in_the_root(tmp_path: Path) -> None:
    table = JSONIndex(tmp_path, "db", "t", [S3])
    table.batch([made(1, layer="far")])
    assert table.get_all() == [made(1, layer="far")]
    assert JSONDBIndex(tmp_path, [S3]).databases() == ["db"]
    with pytest.raises(InvalidConfiguration):
        JSONIndex("", "db", "t", [S3])


def test_a_layers_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    layers = tiers(tmp_path / "nowhere")
    table = JSONIndex(tmp_path, "db", "t", layers)
    names = JSONDBIndex(tmp_path, layers)
    assert (table.get_all(), table.paths(), table.plans(), table.queues()) == ([], [], [], [])
    assert (names.databases(), names.tables("db"), names.paths("db", "t")) == ([], [], [])
    table.batch(None, [made(1)])
    assert table.get_merge_plan("", "hot", 1) is None
    assert list(tmp_path.iterdir()) == [], "asking makes nothing"


def test_what_is_no_catalog_is_not_listed(tmp_path: Path) -> None:
    index(tmp_path).batch([made(1)])
    (tmp_path / "empty" / "table").mkdir(parents=True)
    (tmp_path / "bad:name" / "table" / "data").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "db" / "file").write_text("")
    (data(tmp_path) / "x.parquet").write_text("")
    (tmp_path / "db" / "t" / "data" / "lost+found").mkdir()
    assert JSONDBIndex(tmp_path).databases() == ["db"]
    assert JSONDBIndex(tmp_path).tables("db") == ["t"]
    assert JSONDBIndex(tmp_path).paths("db", "t") == [HOURS[0]]


@pytest.mark.parametrize("name", ["metadata.json", "metadata.json.bak", ".gigapi-plans.json"])
def test_a_file_may_not_be_called_as_the_catalogs_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidEntry, match="catalog itself"):
        index(tmp_path).batch([made(1, path=f"{HOURS[0]}/{name}")])
    with pytest.raises(InvalidEntry, match="255"):
        index(tmp_path).batch([made(1, path=f"{'x' * 256}/a.1.parquet")])
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_folder_may_have_is_refused(tmp_path: Path) -> None:
    for database, table in (("x" * 256, "t"), ("db", "ä" * 128)):
        with pytest.raises(InvalidName, match="255"):
            JSONIndex(tmp_path, database, table)
    with pytest.raises(InvalidName):
        JSONDBIndex(tmp_path).tables("x" * 256)


@pytest.mark.parametrize("path", ["x.1.parquet", "a/x.1.parquet", "a/b/c/d/e/x.1.parquet", ".a/.b"])
def test_folders_of_any_depth_hold_files(tmp_path: Path, path: str) -> None:
    table = index(tmp_path)
    odd, beside = made(1, path=path), made(2, path=f"a/b/{'x' * 250}")
    table.batch([odd, beside])
    assert table.get(path) == odd
    assert table.get_all() == [odd, beside]
    assert table.query(folder=path) == [odd]
    assert sorted(table.paths()) == sorted({path.rpartition("/")[0], "a/b"})


def test_the_depth_of_folders_is_bounded(tmp_path: Path) -> None:
    table = index(tmp_path)
    deep = f"{'d/' * MAX_DEPTH}a.1.parquet"
    table.batch([made(1, path=deep)])
    assert table.get_all() == [made(1, path=deep)]
    with pytest.raises(InvalidEntry, match=f"over {MAX_DEPTH} folders"):
        table.batch([made(2, path=f"{'d/' * MAX_DEPTH}e/a.1.parquet")])
    folder = os.open(data(tmp_path, "d"), os.O_RDONLY)
    for _ in range(1500):  # deeper than a path can say
        with suppress(FileExistsError):
            os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    try:
        assert table.get_all() == [made(1, path=deep)]
    finally:
        # pytest itself can't remove folders that are deeper than a path can say.
        subprocess.run(["rm", "-rf", tmp_path / "db"], check=True)


def test_a_prefix_narrows_what_is_read(tmp_path: Path) -> None:
    table = index(tmp_path)
    table.batch([made(n, dir) for n, dir in enumerate(HOURS)])
    (data(tmp_path, HOURS[3]) / "metadata.json").write_text("damaged")
    assert table.query(folder="date=2027-01-15/hour=00") == [made(0)]
    assert table.query(folder=f"{HOURS[2]}/f") == [made(2, HOURS[2])]
    assert table.query(folder=HOURS[1] + "/f00001.1.parquet") == [made(1, HOURS[1])]
    assert table.query(folder="date=2028") == []


# Symbolic links


@pytest.mark.parametrize("depth", ["db", "db/t", "db/t/data", f"db/t/data/{HOURS[0]}", "home"])
def test_a_symbolic_link_out_of_the_layer_is_refused(tmp_path: Path, depth: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    depth = "db/t/.gigapi" if depth == "home" else depth
    victim = index(outside)
    victim.batch([made(1)])
    before = contents(outside)
    link = root / depth
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / depth)
    table = index(root)
    with pytest.raises(StoreError, match="symbolic link"):
        table.batch([made(2)])
    with pytest.raises(StoreError, match="symbolic link"):
        table.batch(None, [made(1)])
    if ".gigapi" not in depth:
        for call in (table.get_all, table.paths, lambda: table.get(made(1).path)):
            with pytest.raises(StoreError, match="symbolic link"):
                call()
    assert contents(outside) == before


def test_a_metadata_file_that_is_a_link_or_no_file_is_refused(tmp_path: Path) -> None:
    table = index(tmp_path)
    table.batch([made(1), made(2, HOURS[1])])
    file = data(tmp_path) / "metadata.json"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"metadata\.json"):
            table.get_all()
        file.unlink()
        os.mkfifo(file)
    assert table.get(made(2, HOURS[1]).path) is not None


def test_the_layers_own_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    table = index(tmp_path / "root")
    table.batch([made(1)])
    assert index(tmp_path / "disk").get_all() == [made(1)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    index(tmp_path).batch([made(1)])
    data(tmp_path).chmod(0o500)
    try:
        assert index(tmp_path).get_all() == [made(1)]
        with pytest.raises(StoreError, match="can't be used"):
            index(tmp_path).batch([made(2)])
    finally:
        data(tmp_path).chmod(0o700)


# Catalogs


def test_connect_opens_folders(tmp_path: Path) -> None:
    with connect(f"json://{tmp_path}") as catalog:
        catalog.table("db", "t").batch([made(1)])
        catalog.kv.put("k", b"v")
        assert catalog.databases() == ["db"]
        assert catalog.tables("db") == ["t"]
        assert catalog.paths("db", "t") == [HOURS[0]]
        assert "JSON" in repr(catalog)
    assert index(tmp_path).get_all() == [made(1)]
    assert JSONKVStore(tmp_path).get("k") == b"v"
    assert JSONDBIndex(tmp_path).databases() == ["db"], "values are no database"


@pytest.mark.parametrize("url", ["json://", "json:///somewhere/else"])
def test_connect_opens_the_layers_own_folders(tmp_path: Path, url: str) -> None:
    with connect(url, layers=tiers(tmp_path)) as catalog:
        catalog.table("db", "t").batch([made(1, layer="hot"), made(2, layer="cold")])
        assert catalog.databases() == ["db"]
        assert catalog.paths("db", "t") == [HOURS[0]]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cold", "hot"]


@pytest.mark.parametrize("url", ["json://", "json://host/root", "json://root"])
def test_a_url_without_a_folder_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        connect(url)


def test_a_relative_url_is_taken_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with connect("json://./lake") as catalog:
        catalog.table("db", "t").batch([made(1)])
    assert (tmp_path / "lake/db/t/data").is_dir()


async def test_connect_async_opens_folders(tmp_path: Path) -> None:
    async with connect_async(f"json://{tmp_path}") as catalog:
        await catalog.table("db", "t").batch([made(1)])
        await catalog.kv.put("k", b"v")
        assert await catalog.databases() == ["db"]
    async with AsyncJSONIndex(tmp_path, "db", "t") as table:
        assert await table.get_all() == [made(1)]
        assert "AsyncJSONConnection" in repr(table)
    async with AsyncJSONKVStore(tmp_path) as store:
        assert await store.get("k") == b"v"


def test_a_connection_may_be_shared(tmp_path: Path) -> None:
    with JSONConnection(tmp_path) as connection:
        one, other = (JSONIndex(connection, "db", name) for name in ("t", "u"))
        one.batch([made(1)])
        other.batch([made(1, table="u")])
        one.close()
        assert JSONDBIndex(connection).tables("db") == ["t", "u"]
        JSONKVStore(connection).put("k", b"v")
    assert JSONKVStore(tmp_path).get("k") == b"v"
