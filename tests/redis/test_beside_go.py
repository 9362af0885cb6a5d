"""Our index and a GigAPI-like writer on the same keys, at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from fix_stores import SECOND, entry, path_of
from go_like import GoLike, paths_in
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gigapi_metadata import IndexEntry, Layer, LeaseLost, RedisDBIndex, RedisIndex

DIR = "date=2027-01-15/hour=08"
MERGE = f"merge:db:t:1:{DIR}::"
LAYERS = [Layer("file:///hot", "hot", ttl_sec=60), Layer("file:///cold", "cold")]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def go(client: redis.Redis, seed: int) -> GoLike:
    return GoLike(client, seed=seed)


@pytest.fixture
def index(redis_url: str) -> Iterator[RedisIndex]:
    with RedisIndex(redis_url, "db", "t") as index:
        yield index


def paths(entries: list[IndexEntry]) -> list[str]:
    return [each.path for each in entries]


def test_both_fill_the_same_plan(index: RedisIndex, go: GoLike) -> None:
    index.batch([entry(1)])
    go.add(entry(2))
    index.batch([entry(3)])
    go.add(entry(4))
    (item,) = go.items(f"{MERGE}:idle")
    assert item["paths"] == [path_of(n) for n in (1, 2, 3, 4)]
    assert item["size"] == 101 + 102 + 103 + 104
    assert index.get_all() == [entry(n) for n in (1, 2, 3, 4)]
    assert go.read() == {path_of(n): (100 + n, n) for n in (1, 2, 3, 4)}


def test_each_hands_out_what_the_other_queued_and_once(index: RedisIndex, go: GoLike) -> None:
    index.batch([entry(1)])
    go.add(entry(2))
    go.make_due(MERGE)
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    assert plan.paths_from == [path_of(1), path_of(2)]
    assert go.lease(MERGE) is None
    index.complete_merge(plan, entry(path=plan.path_to))
    index.batch([entry(3)])
    go.make_due(MERGE)
    item = go.lease(MERGE)
    assert item is not None
    assert item["paths"] == [path_of(3)]
    assert index.get_merge_plan("", "", 1) is None
    go.end(MERGE, item["id"])
    assert not go.items(f"{MERGE}:processing")


def test_a_lease_that_go_took_over_is_lost(
    index: RedisIndex, go: GoLike, client: redis.Redis
) -> None:
    index.batch([entry(1), entry(2)])
    go.make_due(MERGE)
    stale = index.get_merge_plan("", "", 1, lease_s=60)  # the test takes no second
    assert stale is not None
    go.make_due(MERGE)
    taken = go.lease(MERGE)
    assert taken is not None
    assert taken["id"] == stale.id
    for call in (
        lambda: index.complete_merge(stale, entry(path=stale.path_to)),
        lambda: index.end_merge(stale),
        lambda: index.renew(stale),
        lambda: index.release(stale),
    ):
        before = {key: client.dump(key) for key in client.scan_iter()}
        with pytest.raises(LeaseLost):
            call()
        after = {key: client.dump(key) for key in client.scan_iter()}
        assert after == before
    go.end(MERGE, taken["id"])
    with pytest.raises(LeaseLost):
        index.complete_merge(stale, entry(path=stale.path_to))
    assert paths(index.get_all()) == [path_of(1), path_of(2)]


def test_a_lease_of_go_that_ran_out_is_taken_over(index: RedisIndex, go: GoLike) -> None:
    go.add(entry(1), entry(2))
    go.make_due(MERGE)
    assert go.lease(MERGE) is not None
    assert index.get_merge_plan("", "", 1) is None
    go.make_due(MERGE)
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    index.complete_merge(plan, entry(path=plan.path_to))
    assert paths(index.get_all()) == [plan.path_to]


def test_a_file_that_go_added_twice_is_merged_once(index: RedisIndex, go: GoLike) -> None:
    go.add(entry(1), entry(2), entry(1), entry(1))
    assert len(paths_in(go.items(f"{MERGE}:idle"))) == 4
    go.make_due(MERGE)
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    assert plan.paths_from == [path_of(1), path_of(2)]
    index.complete_merge(plan, entry(path=plan.path_to))
    assert paths(index.get_all()) == [plan.path_to]


def test_a_file_that_go_removed_is_not_merged(index: RedisIndex, go: GoLike) -> None:
    index.batch([entry(1), entry(2)])
    go.remove(entry(1))
    go.make_due(MERGE)
    plan = index.get_merge_plan("", "", 1)
    assert plan is not None
    assert plan.paths_from == [path_of(2)]


def test_removing_what_go_wrote_drops_it_in_its_own_layer_and_writers_queue(
    redis_url: str, client: redis.Redis, seed: int
) -> None:
    go = GoLike(client, LAYERS, seed=seed)
    with RedisIndex(redis_url, "db", "t", LAYERS) as index:
        go.add(entry(1, layer="cold", writer_id="wörker"))
        index.batch(None, [path_of(1)])
        (item,) = go.items("drop:db:t:cold:wörker:idle")
        assert (item["path"], item["layer"], item["writer_id"]) == (path_of(1), "cold", "wörker")


def test_a_count_that_go_left_below_zero_names_no_folder(
    index: RedisIndex, go: GoLike, redis_url: str
) -> None:
    go.remove(entry(1))
    go.remove(entry(2))
    assert index.paths() == []
    with RedisDBIndex(redis_url) as names:
        assert names.paths("db", "t") == []
    index.batch([entry(3)])
    assert index.paths() == [DIR]
    assert index.get_all() == [entry(3)]
    index.batch(None, [entry(3)])
    assert index.paths() == []


def test_a_folder_that_go_counted_down_too_far_is_found_yet(index: RedisIndex, go: GoLike) -> None:
    index.batch([entry(1), entry(2)])
    go.remove(entry(7))
    go.remove(entry(8))
    assert index.get_all() == [entry(1), entry(2)]


def test_our_own_removal_never_hides_files_that_go_has_miscounted(
    index: RedisIndex, go: GoLike
) -> None:
    index.batch([entry(1), entry(2)])
    go.remove(entry(7))
    index.batch(None, [entry(1)])
    assert index.get_all() == [entry(2)]
    assert index.paths() == [DIR]


def test_a_folder_that_go_counted_twice_vanishes_with_its_last_file(
    index: RedisIndex, go: GoLike
) -> None:
    go.add(entry(1), entry(1))
    index.batch(None, [entry(1)])
    assert index.get_all() == []
    assert index.paths() == []


def test_moves_without_a_time_are_due_and_survive(
    redis_url: str, client: redis.Redis, seed: int
) -> None:
    go = GoLike(client, LAYERS, rows=[], seed=seed)
    go.add(*(entry(n, layer="hot") for n in range(6)))
    assert not any("time_s" in item for item in go.items("move:db:t:hot::idle"))
    with RedisIndex(redis_url, "db", "t", LAYERS, []) as index:
        plans = []
        while (plan := index.get_move_plan("", "hot")) is not None:
            plans.append(plan)
        assert [plan.path_from for plan in plans] == [path_of(n) for n in range(6)]
        assert len({plan.path_to for plan in plans}) == 6, "Go draws one name for several"
        assert len({(plan.id, plan.lease_s) for plan in plans}) == 6
        for plan in plans:
            index.complete_move(plan, entry(path=plan.path_to, layer="cold"))
        assert len(index.get_all()) == 6


def test_plans_of_one_id_are_ended_one_by_one(
    redis_url: str, client: redis.Redis, seed: int
) -> None:
    go = GoLike(client, LAYERS, rows=[], seed=seed)
    go.draw = lambda: "00000000-0000-4000-8000-000000000000"  # type: ignore[method-assign]
    go.add(*(entry(n, layer="hot") for n in range(3)))
    with RedisIndex(redis_url, "db", "t", LAYERS, []) as index:
        ended = []
        while (plan := index.get_move_plan("", "hot")) is not None:
            for earlier in ended:
                index.end_move(earlier)  # again: no effect, least of all on another's plan
            assert [each.state for each in index.plans()].count("leased") == 1
            moved = entry(path=plan.path_to, layer="cold")
            index.complete_move(plan, moved)
            ended.append(plan)
        assert len(ended) == 3
        assert {each.layer for each in index.get_all()} == {"cold"}


def test_a_plan_keeps_its_target_when_go_has_held_it_in_between(
    index: RedisIndex, go: GoLike
) -> None:
    index.batch([entry(1), entry(2)])
    go.make_due(MERGE)
    first = index.get_merge_plan("", "", 1)
    go.make_due(MERGE)
    go.lease(MERGE)
    go.make_due(MERGE)
    second = index.get_merge_plan("", "", 1)
    assert first is not None
    assert second is not None
    assert (second.id, second.path_to) == (first.id, first.path_to)


def test_dropping_works_across_both(index: RedisIndex, go: GoLike) -> None:
    queue = "drop:db:t::"
    index.batch([entry(1), entry(2)])
    index.batch(None, [entry(1)])
    go.remove(entry(2))
    assert go.lease(queue) is None
    assert index.get_drop_queue("", "") is None
    go.make_due(queue)
    item = go.lease(queue)
    assert item is not None
    assert item["path"] == path_of(1)
    plan = index.get_drop_queue("", "")
    assert plan is not None
    assert plan.path == path_of(2)
    index.rm_from_drop_queue(plan)
    go.end(queue, item["id"])
    assert not go.items(f"{queue}:processing")


steps = st.lists(
    st.tuples(
        st.sampled_from(["go", "us"]),
        st.sampled_from(["add", "add", "remove", "lease"]),
        st.lists(st.integers(0, 7), min_size=1, max_size=4),
    ),
    max_size=25,
)


@pytest.mark.parametrize("layered", [False, True])
def test_any_mix_of_both_leaves_the_same_files(
    redis_url: str, client: redis.Redis, seed: int, layered: bool
) -> None:
    layers = LAYERS if layered else []
    rows = [[80, 350, 1]] if layered else [[0, 350, 1]]  # with layers, files are moved

    @settings(
        max_examples=25,
        suppress_health_check=list(HealthCheck),
        # Shrinking takes minutes on a store; a failure is printed with all its steps.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(steps)
    def check(taken: list[tuple[str, str, list[int]]]) -> None:
        client.flushdb()
        go = GoLike(client, layers, rows, seed)
        kept: dict[str, IndexEntry] = {}
        moved: set[str] = set()
        with RedisIndex(redis_url, "db", "t", layers, rows) as index:
            for who, what, numbers in taken:
                files = [
                    entry(n, layer="hot" if layered else "", chunk_time=SECOND) for n in numbers
                ]
                # No writer uses a file's name again when the file has gone elsewhere.
                files = [each for each in files if each.path not in moved]
                if what == "add":
                    index.batch(files) if who == "us" else go.add(*files)
                    kept |= {each.path: each for each in files}
                elif what == "remove":
                    # Go miscounts what is not there; that has tests of its own.
                    files = [each for each in dict.fromkeys(files_of(files)) if each in kept]
                    gone = [kept.pop(path) for path in files]
                    index.batch(None, gone) if who == "us" else go.remove(*gone)
                elif who == "us":
                    plan = (
                        index.get_move_plan("", "hot")
                        if layered
                        else index.get_merge_plan("", "", 1)
                    )
                    if plan is None:
                        continue
                    sources = [plan.path_from] if layered else plan.paths_from  # type: ignore[union-attr]
                    assert set(sources) <= set(kept)
                    assert len(set(sources)) == len(sources)
                    assert plan.path_to not in kept
                    result = entry(path=plan.path_to, layer="cold" if layered else "")
                    (index.complete_move if layered else index.complete_merge)(plan, result)  # type: ignore[operator]
                    for path in sources:
                        del kept[path]
                    moved.update(sources)
                    kept[result.path] = result
                else:
                    queue = "move:db:t:hot:" if layered else MERGE
                    if "time_s" in (go.items(f"{queue}:idle") or [{}])[0]:
                        go.lease(queue)
                assert {each.path: each for each in index.get_all()} == kept
                assert set(go.read()) == set(kept)

    check()


def files_of(entries: list[IndexEntry]) -> list[str]:
    return [each.path for each in entries]
