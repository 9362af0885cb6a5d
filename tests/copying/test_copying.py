"""From store to store: everything arrives, once, to the last digit and the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from copy_lab import ODD, ROWS, content, copy, dump, fill, made, opened, plans
from fix_redis import RedisPool, redis_params

from gigapi_metadata import (
    CorruptState,
    IndexEntry,
    InvalidEntry,
    QueuedPlan,
    UnknownLayer,
    connect,
)
from gigapi_metadata.catalog import Catalog
from gigapi_metadata.copying import Difference, Writer, differences
from gigapi_metadata.index.sync import Index


@pytest.fixture(params=["sqlite", "json", *redis_params()])
def target_url(request: pytest.FixtureRequest, redis_pool: RedisPool, tmp_path: Path) -> str:
    """An empty catalog of each kind."""
    if request.param in ("sqlite", "json"):
        return {"sqlite": f"sqlite://{tmp_path}/to.db", "json": f"json://{tmp_path}/to"}[
            request.param
        ]
    server = redis_pool.get(request.param)
    server.flush()
    return server.url()


@pytest.fixture
def source(tmp_path: Path) -> Catalog:
    catalog = opened(f"json://{tmp_path}/first/hot", tmp_path / "first")
    fill(catalog)
    return catalog


def test_json_to_sqlite_to_redis_to_json(source: Catalog, tmp_path: Path, redis_url: str) -> None:
    expected = content(source)
    assert {plan.kind for plan in source.table("db", "t").plans()} == {"merge", "move", "drop"}
    for number, url in enumerate(
        [f"sqlite://{tmp_path}/second.db", redis_url, f"json://{tmp_path}/last/hot"]
    ):
        with opened(url, tmp_path / ("last" if number == 2 else "none")) as target:
            copy(source, target)
            assert content(target) == expected, url
        # Read by whoever comes next, with nothing of ours in memory.
        source = opened(url, tmp_path / ("last" if number == 2 else "none"))
    assert content(source) == expected
    for name in ("first", "last"):
        assert (tmp_path / name / "cold/db/t/data/date=2024-01-17/hour=03/metadata.json").exists()


def test_copying_twice_changes_nothing(source: Catalog, target_url: str, tmp_path: Path) -> None:
    with opened(target_url, tmp_path / "to") as target:
        first = copy(source, target)
        before = dump(target_url)
        again = copy(source, target, batch_size=7)
        assert dump(target_url) == before
    assert sum(each.written for each in first.reports) == 66
    assert all(each.plans_written for each in first.reports)
    assert not any(each.written or each.plans_written for each in again.reports)


def test_nothing_is_planned_for_what_is_copied(target_url: str, tmp_path: Path) -> None:
    with connect(tmp_path / "from", merge_configurations=[]) as source:
        source.table("db", "t").batch([made(1, layer=""), made(2, layer="")])
        with connect(target_url, merge_configurations=ROWS) as target:
            copy(source, target)
            assert target.table("db", "t").plans() == []


def test_a_dry_run_says_what_would_be_written(
    source: Catalog, target_url: str, tmp_path: Path
) -> None:
    with opened(target_url, tmp_path / "to") as target:
        before = copy(source, target, dry_run=True)
        assert content(target) == {}
        done = copy(source, target)
        assert before.reports == done.reports
        after = copy(source, target, dry_run=True)
        assert not any(each.written or each.plans_written for each in after.reports)


def test_what_was_broken_off_is_taken_up(
    source: Catalog, target_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Index.import_entries, 0

    def failing(self: Index[Any], entries: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise KeyboardInterrupt
        real(self, entries)

    with opened(target_url, tmp_path / "to") as target:
        with monkeypatch.context() as patch:
            patch.setattr(Index, "import_entries", failing)
            with pytest.raises(KeyboardInterrupt):
                copy(source, target, batch_size=10)
        rest = copy(source, target, batch_size=10)
        assert 0 < sum(each.written for each in rest.reports) < 66
        assert content(target) == content(source)


def test_plans_are_leased_as_if_they_had_been_made_there(
    source: Catalog, target_url: str, tmp_path: Path
) -> None:
    with opened(target_url, tmp_path / "to") as target:
        copy(source, target)
        here, there = source.table("db", "t"), target.table("db", "t")
        before = [plan for plan in here.plans() if plan.kind == "move"]
        one, other = here.get_move_plan("", "hot"), there.get_move_plan("", "hot")
        assert one is not None
        assert other is not None
        assert (one.id, one.path_from, one.path_to, one.layer_to, one.attempts) == (
            other.id, other.path_from, other.path_to, other.layer_to, other.attempts
        )  # fmt: skip
        assert (one.id, one.path_to) in [(plan.id, plan.path_to) for plan in before]
        there.release(other)
        # A new file joins the plan that was copied.
        queue = [plan for plan in there.plans() if plan.kind == "merge" and plan.dir.endswith("05")]
        there.batch([made(10, path="date=2024-01-15/hour=05/new.1.parquet")])
        grown = [plan for plan in there.plans() if plan.kind == "merge" and plan.dir.endswith("05")]
        assert [plan.id for plan in grown] == [plan.id for plan in queue]
        assert grown[0].paths[-1].endswith("new.1.parquet")


def test_a_leased_plan_waits_until_its_lease_would_end(tmp_path: Path, target_url: str) -> None:
    with connect(tmp_path / "from", merge_configurations=[[0, 1000, 1]]) as source:
        index = source.table("db", "t")
        index.batch([made(1, layer="")])
        plan = index.get_merge_plan("", "", 1)
        assert plan is not None
        with connect(target_url, merge_configurations=[]) as target:
            copy(source, target)
            (copied,) = target.table("db", "t").plans()
            assert (copied.state, copied.id, copied.due_s) == ("waiting", plan.id, plan.lease_s)
            assert target.table("db", "t").get_merge_plan("", "", 1) is None
            # One that somebody there holds is left alone.
            target.table("db", "t").retry(copied)
            held = target.table("db", "t").get_merge_plan("", "", 1)
            assert held is not None
            copy(source, target)
            assert [each.state for each in target.table("db", "t").plans()] == ["leased"]


def test_layers_need_not_be_named(target_url: str, source: Catalog) -> None:
    """Layers decide where files are and what is planned; entries say their layer's name."""
    expected = content(source)
    with connect(target_url) as target:
        copy(source, target)
        assert content(target) == expected


def test_a_layer_without_a_folder(tmp_path: Path, source: Catalog) -> None:
    only_hot = opened("sqlite:///x.db", tmp_path / "to").layers[:1]
    with (
        connect(f"json://{tmp_path}/to", only_hot) as target,
        pytest.raises(UnknownLayer) as caught,
    ):
        copy(source, target)
    assert "'cold'" in str(caught.value)


def test_tables_with_and_without_layer(tmp_path: Path, target_url: str) -> None:
    with connect(tmp_path / "from") as source:
        source.table("db", "t").import_entries([made(1), made(2, layer="")])
        with connect(target_url) as target:
            copy(source, target)
            assert content(target) == content(source)


def test_drops_from_elsewhere_into_folders(tmp_path: Path) -> None:
    """GigAPI's form has no place for a drop's id: there it is told by what it says."""
    with connect(tmp_path / "from", merge_configurations=[]) as source:
        index = source.table("db", "t")
        for _ in range(2):
            index.batch([made(1, layer="")])
            index.batch(None, [made(1).path])
        index.batch([made(2, layer="")])
        index.batch(None, [made(2).path])
        with connect(f"json://{tmp_path}/to", merge_configurations=[]) as target:
            copy(source, target)
            copied = target.table("db", "t").plans()
            assert [(each.paths, each.due_s) for each in copied] == [
                (each.paths, each.due_s) for each in index.plans()
            ]
            before = dump(f"json://{tmp_path}/to")
            copy(source, target)
            assert dump(f"json://{tmp_path}/to") == before


def test_ids_that_gigapi_gave_twice(target_url: str) -> None:
    plan = QueuedPlan("move", "waiting", "same", "hot", "", "date=x1/hour=1", 0, [""], 0, 5)

    def of(name: str) -> QueuedPlan:
        path, to = f"date=x1/hour=1/{name}", f"date=x1/hour=1/to-{name}"
        return QueuedPlan(
            "move", "waiting", "same", "hot", "", "date=x1/hour=1", 0, [path], 0, 5, path_to=to
        )

    class Foreign:
        database, table = "db", "t"

        def paths(self) -> list[str]:
            return []

        def plans(self) -> list[QueuedPlan]:
            return [of("a"), plan, of("b")]

    from gigapi_metadata.copying import copy_table

    for _ in range(2):
        with connect(target_url) as target:
            copy_table(Foreign(), Writer(target))  # type: ignore[arg-type]
            found = target.table("db", "t").plans()
    assert [each.paths[0][-1] for each in found] == ["a", "b"]
    assert found[0].id == "same" != found[1].id


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": ""}, "no id"),
        ({"paths": []}, "one file"),
        ({"paths": ["date=x1/../a"]}, "segment"),
        ({"dir": "date=y"}, "must lie in"),
        ({"layer": "a:b"}, "layer name"),
        ({"due_s": 2**60}, "out of range"),
        ({"kind": "merge"}, "iteration"),
    ],
)
def test_a_plan_that_could_not_be_carried_out(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    fields: dict[str, Any] = {
        "kind": "drop", "state": "waiting", "id": "1", "layer": "", "writer_id": "", "iteration": 0,
        "dir": "date=x1", "paths": ["date=x1/a"], "size_bytes": 0, "due_s": 0,
    }  # fmt: skip
    with connect(tmp_path) as catalog:
        with pytest.raises(InvalidEntry, match=fault):
            catalog.table("db", "t").import_plans([QueuedPlan(**{**fields, **changes})])
        assert catalog.table("db", "t").plans() == []


def test_a_refused_entry_leaves_its_batch_out(tmp_path: Path, redis_url: str) -> None:
    with connect(tmp_path) as source, connect(redis_url) as target:
        bad = made(3, layer="", path="short.1.parquet")  # no folder: GigAPI's readers would crash
        source.table("db", "t").batch([made(1, layer=""), bad])
        with pytest.raises(InvalidEntry, match="short"):
            copy(source, target)


class TestDifferences:
    def found(self, here: list[IndexEntry], there: list[IndexEntry]) -> list[Difference]:
        with connect(self.folder / "a") as one, connect(self.folder / "b") as other:
            one.table("db", "t").batch(here)
            other.table("db", "t").batch(there)
            return list(differences(one.table("db", "t"), other.table("db", "t")))

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def test_none(self) -> None:
        entries = [made(number, layer="", min_data=ODD) for number in range(100)]
        flat = made(200, layer="", path="flat.1.parquet")
        assert self.found([*entries, flat], [flat, *entries]) == []

    def test_missing_and_extra(self) -> None:
        a, b, far = made(1, layer=""), made(2, layer=""), made(90, layer="")
        assert [(each.path, each.kind) for each in self.found([a, far], [b])] == [
            (a.path, "missing"), (b.path, "extra"), (far.path, "missing"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "here", "there"),
        [
            ("size_bytes", 2**62, 2**62 + 1),
            ("max_time", 2**63 - 2, 2**63 - 1),
            ("writer_id", "", "w"),
            ("min_data", None, {}),
            ("min_data", {"v": 0.0}, {"v": -0.0}),
            ("min_data", {"v": 1}, {"v": 1.0}),
            ("max_data", {"v": True}, {"v": 1}),
            ("max_data", {"v": 0.3}, {"v": 0.1 + 0.2}),
        ],
    )
    def test_each_field_exactly(self, name: str, here: Any, there: Any) -> None:
        fields = {"layer": "", name: here}
        (found,) = self.found([made(1, **fields)], [made(1, **{**fields, name: there})])
        assert repr((found.kind, found.here, found.there)) == repr(
            ("different", {name: here}, {name: there})
        )

    def test_the_order_of_columns_does_not_count(self) -> None:
        one = made(1, layer="", min_data={"a": 1, "b": 2})
        assert self.found([one], [made(1, layer="", min_data={"b": 2, "a": 1})]) == []


def test_the_async_classes_have_it_too(tmp_path: Path) -> None:
    import asyncio

    from gigapi_metadata import connect_async

    async def check() -> None:
        with connect(tmp_path / "a") as source:
            source.table("db", "t").batch([made(1, layer="")])
            found = source.table("db", "t")
            async with connect_async(tmp_path / "b") as target:
                index = target.table("db", "t")
                await index.import_entries(found.get_all())
                assert await index.import_plans(found.plans()) == 1
                assert await index.import_plans(found.plans()) == 0
                assert await index.plans() == plans(found)

    asyncio.run(check())


def test_plans_over_a_key_of_another_type_write_nothing(tmp_path: Path, redis_url: str) -> None:
    with connect(tmp_path / "a") as source, connect(redis_url) as target:
        source.table("db", "t").batch([made(1, layer=""), made(2, layer=""), made(3, layer="")])
        found = source.table("db", "t").plans()
        assert len(found) == 2
        with redis.Redis.from_url(redis_url) as client:
            client.set(f"merge:db:t:1:{found[-1].dir}:::processing", "x")
            before = dump(redis_url)
            with pytest.raises(CorruptState):
                target.table("db", "t").import_plans(found)
            assert dump(redis_url) == before
