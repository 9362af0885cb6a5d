"""Several workers on one table, workers that stop and come back, readers that take their time."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_lab import Child, Lab, Tables, check_whole, finish, row_count, rows_of, work

from gigapi_metadata import Layer
from gigapi_metadata.worker import Outcome

SMALL = ((0, 6000, 1), (0, 10**9, 2))  # a small max_size makes many plans


def lab_in(folder: Path, **options: object) -> Lab:
    layers = (
        Layer(f"file://{folder}/hot", "hot", "fs", 3600),
        Layer(f"file://{folder}/cold", "cold"),
    )
    return Lab(folder, layers=layers, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [2, 8])
def test_workers_share_a_table(tmp_path: Path, workers: int) -> None:
    share(lab_in(tmp_path, merge=SMALL), workers)


@pytest.mark.parametrize("workers", [2, 8])
def test_workers_share_a_table_on_redis(tmp_path: Path, redis_url: str, workers: int) -> None:
    share(lab_in(tmp_path, redis=redis_url, merge=SMALL), workers)


def share(lab: Lab, workers: int) -> None:
    with Tables(lab) as catalog:
        lab.add(catalog, 6, hours=range(6))
    rows = rows_of(lab)
    children = [Child(lab) for _ in range(workers)]
    for child in children:
        child.started()
    outcomes: list[Outcome] = [each for child in children for each in child.outcomes()]
    outcomes += finish(lab)
    check_whole(lab, rows)
    assert {outcome.status for outcome in outcomes} == {"done"}
    done = [(outcome.kind, outcome.plan) for outcome in outcomes]
    assert len(done) == len(set(done))


MERGE = ("leased", "announced", "fetched", "merged", "verified", "placed")
MOVE = ("leased", "announced", "fetched", "copied", "verified")
DROP = ("leased", "checked", "deleted")
STOPS = [
    *(f"merge:{step}" for step in MERGE),
    *(f"move:{step}" for step in MOVE),
    *(f"drop:{step}" for step in DROP),
]


@pytest.mark.parametrize("step", STOPS)
def test_a_worker_that_was_stopped_past_its_lease_has_no_effect(tmp_path: Path, step: str) -> None:
    lab = lab_in(tmp_path)
    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = rows_of(lab)
    child = Child(lab, stop_at=step)
    child.stopped()
    finish(lab.ahead(1000))
    check_whole(lab, rows)
    child.resume()
    lost = [outcome for outcome in child.outcomes() if outcome.kind == step.partition(":")[0]]
    assert lost[-1].status == "lost"
    check_whole(lab, rows)


@pytest.mark.parametrize("step", ["merge:verified", "merge:placed", "move:copied", "drop:checked"])
def test_stopped_past_its_lease_on_redis(tmp_path: Path, redis_url: str, step: str) -> None:
    lab = lab_in(tmp_path, redis=redis_url, lease_s=1)
    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = rows_of(lab)
    child = Child(lab, stop_at=step)
    child.stopped()
    finish(lab)
    check_whole(lab, rows)
    child.resume()
    lost = [outcome for outcome in child.outcomes() if outcome.kind == step.partition(":")[0]]
    assert lost[-1].status == "lost"
    check_whole(lab, rows)


@pytest.mark.parametrize("step", ["merge:verified", "merge:placed"])
def test_stopped_and_overtaken_half_way(tmp_path: Path, step: str) -> None:
    """The second worker is stopped too, while the first one goes on."""
    lab = lab_in(tmp_path)
    with Tables(lab) as catalog:
        lab.add(catalog)
    rows = rows_of(lab)
    first = Child(lab, stop_at=step)
    first.stopped()
    second = Child(lab.ahead(1000), stop_at=step)
    second.stopped()
    first.resume()
    assert first.outcomes()[0].status == "lost"
    assert rows_of(lab) == rows
    second.resume()
    merges = [outcome for outcome in second.outcomes() if outcome.kind == "merge"]
    assert merges[0].status == "done"
    finish(lab.ahead(1000))
    check_whole(lab, rows)


def test_a_long_job_keeps_its_lease(tmp_path: Path, redis_url: str) -> None:
    """Renewed three times, the plan is nobody else's."""
    lab = lab_in(tmp_path, redis=redis_url, lease_s=2)
    with Tables(lab) as catalog:
        lab.add(catalog)
        index = catalog.index()
        leases: list[int] = []

        def hold(step: str) -> None:
            if step == "merge:merged":
                while len(set(leases)) < 4:
                    ((lease,),) = [[p.due_s for p in index.plans() if p.kind == "merge"]]
                    leases.append(lease)
                    assert index.get_merge_plan("", "hot", 1) is None

        outcomes = work(lab, checkpoint=hold)
    assert outcomes[0].status == "done"


def test_a_slow_reader_finds_its_files(tmp_path: Path) -> None:
    """Listed first, read at every later step, up to the end of the grace."""
    lab = lab_in(tmp_path, drop_grace_s=30)
    with Tables(lab) as catalog:
        lab.add(catalog)
        listed = lab.files(catalog.index().get_all())
    rows = rows_of(lab)
    seen = []

    def read(step: str) -> None:
        seen.append(step)
        assert rows_of(lab) == rows
        assert row_count(listed) == rows

    work(lab, checkpoint=read)
    work(lab.ahead(20), checkpoint=read)
    assert {"merge:completed", "move:completed"} <= set(seen)
    assert not any(step.startswith("drop") for step in seen)
    assert row_count(listed) == rows
    finish(lab.ahead(1000))
    assert not any(file.exists() for file in listed)
    check_whole(lab, rows)


def test_expiry_after_the_last_layer(tmp_path: Path) -> None:
    layers = (Layer(f"file://{tmp_path}/hot", "hot", "fs", 3600),)
    lab = Lab(tmp_path, layers=layers, merge=())
    with Tables(lab) as catalog:
        lab.add(catalog)
    finish(lab)
    with Tables(lab) as catalog:
        assert catalog.index().get_all() == []
    assert lab.on_disk() == set()
