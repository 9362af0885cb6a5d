"""Deleting a file's data: held back until readers are done, and never of a file that lives."""

from __future__ import annotations

from fix_stores import Backend, OpenIndex, entry, path_of

from gigapi_metadata import Layer

TIERS = [Layer("file:///hot", "hot"), Layer("file:///cold", "cold")]


def test_a_drop_is_held_back_for_the_grace(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index()
    index.batch([entry(1)])
    index.batch(None, [path_of(1)])
    backend.advance(29)
    assert index.get_drop_queue("", "") is None
    backend.advance(1)
    plan = index.get_drop_queue("", "")
    assert (plan.database, plan.table, plan.layer, plan.writer_id) == ("db", "t", "", "")
    assert plan.path == path_of(1)
    assert plan.lease_s == backend.now_s + 1800
    index.rm_from_drop_queue(plan)
    backend.advance(3600)
    assert index.get_drop_queue("", "") is None
    assert index.plans() == [] or {plan.kind for plan in index.plans()} == {"merge"}


def test_a_drop_says_since_when_it_was_allowed(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index()
    index.batch([entry(1)])
    index.batch(None, [path_of(1)])
    allowed = backend.now_s + 30
    backend.advance(100)
    assert index.get_drop_queue("", "").time_s == allowed


def test_the_grace_can_be_chosen(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(drop_grace_s=0)
    index.batch([entry(1)])
    index.batch(None, [path_of(1)])
    assert index.get_drop_queue("", "").path == path_of(1)
    other = open_index(drop_grace_s=100)
    other.batch([entry(2)])
    other.batch(None, [path_of(2)])
    backend.advance(99)
    assert other.get_drop_queue("", "") is None
    backend.advance(1)
    assert other.get_drop_queue("", "").path == path_of(2)


def test_drops_are_kept_by_the_layer_and_writer_of_the_entry_itself(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=TIERS)
    index.batch([entry(1, layer="hot", writer_id='w"1'), entry(2, layer="cold")])
    index.batch(None, [entry(1, layer="cold", writer_id="liar"), path_of(2)])
    backend.advance(30)
    assert index.get_drop_queue("", "hot") is None
    assert index.get_drop_queue("liar", "cold") is None
    assert index.get_drop_queue('w"1', "hot").path == path_of(1)
    assert index.get_drop_queue("", "cold").path == path_of(2)


def test_a_file_added_again_is_not_deleted(open_index: OpenIndex, backend: Backend) -> None:
    index = open_index(layers=TIERS)
    index.batch([entry(n, layer="hot") for n in (1, 2)])
    index.batch(None, [path_of(1), path_of(2)])
    index.batch([entry(1, layer="hot")])
    backend.advance(30)
    plan = index.get_drop_queue("", "hot")
    assert plan.path == path_of(2)
    assert index.get_drop_queue("", "hot") is None
    assert [plan.state for plan in index.plans() if plan.kind == "drop"] == ["leased"]


def test_a_file_added_again_elsewhere_is_deleted_where_it_was(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index(layers=TIERS)
    index.batch([entry(1, layer="hot")])
    index.batch(None, [path_of(1)])
    index.batch([entry(1, layer="cold")])
    backend.advance(30)
    assert index.get_drop_queue("", "hot").path == path_of(1)


def test_a_file_removed_twice_is_deleted_after_the_last_grace(
    open_index: OpenIndex, backend: Backend
) -> None:
    index = open_index()
    index.batch([entry(1)])
    index.batch(None, [path_of(1)])
    backend.advance(20)
    index.batch([entry(1)])
    index.batch(None, [path_of(1)])
    backend.advance(10)
    assert index.get_drop_queue("", "") is None, "20 s of the second removal's grace are left"
    backend.advance(20)
    assert index.get_drop_queue("", "").path == path_of(1)
