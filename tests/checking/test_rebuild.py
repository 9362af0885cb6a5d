"""A catalog is lost, made anew from the files, and gives the same answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from check_lab import BASE_NS, DAY, SECOND, Lake
from s3_lab import S3Lab

from gigapi_metadata import IndexEntry, Layer
from gigapi_metadata.checking import tables_in
from gigapi_metadata.checking.overlaps import Candidate, decide
from gigapi_metadata.cli import main
from gigapi_metadata.errors import StorageError
from gigapi_metadata.lineage import KEY, MOST, mark, marks_in, note
from gigapi_metadata.stores.repairing import PlanRepair


def lose(lake: Lake) -> None:
    """All that the catalog knows is gone."""
    if lake.kind == "redis":
        lake.client.flushall()
    elif lake.kind == "sqlite":
        lake.catalog.connection.close()
        for file in lake.folder.glob("catalog.db*"):
            file.unlink()
    else:
        for file in lake.folder.rglob("metadata.json"):
            file.unlink()
        for file in lake.folder.rglob(".gigapi-plans.json"):
            file.unlink()
        for folder in lake.folder.rglob(".gigapi"):
            shutil.rmtree(folder)
    assert lake.index.get_all() == []


def options(lake: Lake, *more: str) -> list[str]:
    words = ["--catalog", lake.url]
    for layer in lake.layers:
        ttl = f",ttl={layer.ttl_sec}s" if layer.ttl_sec else ""
        words += ["--layers", f"{layer.name}={layer.url}{ttl}"]
    return [*words, *more]


def answers(lake: Lake) -> list[Any]:
    """What queries find. When a file was changed last is not among it."""
    windows = [
        (None, None),
        (BASE_NS + 5 * SECOND, BASE_NS + 6 * SECOND),
        (0, BASE_NS + 4 * SECOND),
    ]
    return [
        [
            msgspec.structs.replace(entry, chunk_time=0)
            for entry in lake.index.query(after=after, before=before)
        ]
        for after, before in windows
    ]


def test_merged_files_count_and_their_sources_do_not(lake: Lake) -> None:
    lake.fill(4, 2)
    merge = ("--merge", "0s,1GiB", "--merge", "0s,1GiB")
    assert main(["compact", "db.t", *options(lake, *merge), "--until-level", "2"]) == 0
    for name in ("late.1", "later.1"):
        lake.index.batch([lake.entry(lake.write(name))])
    before = answers(lake)
    assert len(before[0]) == 4
    on_disk = [p for p in lake.folder.rglob("*.parquet") if p.is_file()]
    assert len(on_disk) > 4, "sources wait to be deleted"
    rows = sum(entry.row_count for entry in lake.index.get_all())
    lose(lake)
    report = lake.rebuild()
    assert answers(lake) == before
    assert (report.registered, report.rows) == (4, rows)
    assert len(report.left_out) == len(on_disk) - 4
    assert not report.bad
    assert not report.doubtful
    # It is planned as new files are, and a second run finds nothing to do.
    assert {p.kind for p in lake.index.plans()} == {"merge"}
    again = lake.rebuild()
    assert (again.registered, again.known) == (0, 4)
    assert answers(lake) == before
    assert {each.kind for each in lake.check(min_age_s=0).faults} <= {"orphan"}


@pytest.mark.parametrize("cold", ["local", "s3"])
def test_moved_files_count_once(cold: str, lake: Lake, request: pytest.FixtureRequest) -> None:
    if cold == "s3" and lake.kind == "redis" and "7.0" not in request.node.name:
        pytest.skip("one server is enough for S3")
    layers = [Layer(f"file://{lake.folder}/hot", "hot", ttl_sec=10), lake.layers[1]]
    if cold == "s3":
        s3: S3Lab = request.getfixturevalue("s3")
        layers[1] = Layer(s3.url(), "cold", "s3")
    with Lake(lake.kind, lake.url, lake.folder, layers) as tiered:
        tiered.fill(2, 2)
        assert main(["worker", "db.t", "--once", *options(tiered)]) == 0
        before = answers(tiered)
        assert {entry.layer for entry in before[0]} == {"cold"}
        lose(tiered)
        report = tiered.rebuild()
        assert answers(tiered) == before
        assert len(report.left_out) == 4
        assert all("the same file" in each.reason for each in report.left_out)
        assert tiered.kinds(deep=True, min_age_s=10**6) == []


def test_what_is_passed_over(lake: Lake) -> None:
    entries = lake.fill(1, 1)
    lake.write("orphan.1", 1)
    lake.repair()  # goes to quarantine
    folder = lake.file(entries[0].path).parent
    shutil.copy(lake.file(entries[0].path), folder / ".gigapi-0123456789abcdef0123-00.tmp")
    shutil.copy(lake.file(entries[0].path), folder / "_unfinished.parquet")
    (folder / "bad.1.parquet").write_bytes(b"PAR1 no more")
    lose(lake)
    report = lake.rebuild(writer_id="w")
    assert [each.path for each in report.bad] == [f"{DAY}/hour=00/bad.1.parquet"]
    (entry,) = lake.index.get_all()
    assert (entry.path, entry.writer_id) == (entries[0].path, "w")


def test_a_dry_run_writes_nothing(lake: Lake) -> None:
    lake.fill()
    lose(lake)
    assert lake.rebuild(dry_run=True).registered == 6
    assert lake.index.get_all() == []


def test_what_waits_to_be_deleted_by_the_catalog_stays_out(lake: Lake) -> None:
    entries = lake.fill()
    lake.index.batch([], entries[:2])
    report = lake.rebuild()
    assert (report.leaving, report.registered, report.known) == (2, 0, 4)


def test_the_sources_of_a_living_merge_are_not_adopted(lake: Lake) -> None:
    """Their drops were lost: registering them would double their rows."""
    entries = lake.fill(2, 1)
    assert main(["compact", "db.t", *options(lake, "--merge", "0s,1GiB")]) == 0
    (merged,) = lake.index.get_all()
    for stored in lake.raw.stored_plans():
        assert lake.raw.mend_plans([PlanRepair(stored, None)]) == [True]
    assert {e.path for e in lake.check(adopt=True).faults} == {entry.path for entry in entries}
    repaired = lake.repair(adopt=True)
    assert len(repaired.errors) == 2
    assert all("count twice" in error for error in repaired.errors)
    assert lake.index.get_all() == [merged]
    # Nor is the result, while its sources are living.
    lake.index.import_entries(entries)
    lake.forget(merged)
    lake.age(lake.file(merged.path))
    repaired = lake.repair(adopt=True)
    assert len(repaired.errors) == 1
    assert lake.index.get(merged.path) is None


# Which files count, by themselves


def candidate(name: str, **given: Any) -> Candidate:
    fields: dict[str, Any] = {"rank": 0, "sources": (), "digest": name.encode(), "at": 5}
    fields |= {"rows": 10 * max(1, len(given.get("sources", ()))), "to": 9, **given}
    path, layer = f"{DAY}/{name}.parquet", ("hot", "cold")[fields["rank"]]
    rows, at = fields["rows"], fields["at"]
    entry = IndexEntry("db", "t", path, 10, 0, fields["to"], layer, rows, at)
    marks = marks_in(note([f"{DAY}/{source}.parquet" for source in fields["sources"]]))
    return Candidate(entry, fields["rank"], marks, fields["digest"])


def taken(*candidates: Candidate) -> list[str]:
    found = decide(candidates).taken
    return [entry.path.removeprefix(f"{DAY}/").removesuffix(".parquet") for entry in found]


UUID = "5b0d9a5e-9c06-5ad4-8c8e-"


X: dict[str, Any] = {"digest": b"x"}
ONE, OTHER = f"{UUID}000000000001.2", f"{UUID}000000000002.2"

TOLD: dict[str, tuple[list[Candidate], list[str]]] = {
    "sources": (
        [candidate("a.1"), candidate("b.1"), candidate("m.2", sources=["a.1", "b.1"])],
        ["m.2"],
    ),
    "some-gone": ([candidate("a.1"), candidate("m.2", sources=["a.1", "b.1"])], ["m.2"]),
    "times-not-kept": ([candidate("a.1", at=9), candidate("m.2", sources=["a.1"])], ["m.2"]),
    "twice-merged": (
        [
            candidate("a.1"),
            candidate("m.2", sources=["a.1"]),
            candidate("n.3", sources=["m.2", "a.1"], rows=10),
        ],
        ["n.3"],
    ),
    "attempts": (
        [candidate(ONE, sources=["a.1"], at=6), candidate(OTHER, sources=["a.1"], at=7)],
        [OTHER],
    ),
    "attempt-merged": (
        [
            candidate(ONE, sources=["a.1"], at=6),
            candidate(OTHER, sources=["a.1"], at=7),
            candidate("n.3", sources=[ONE, "a.1"], rows=10),
        ],
        ["n.3"],
    ),
    "promoted": ([candidate("a.1", **X), candidate("b.2", **X)], ["b.2"]),
    "moved": ([candidate("a.1", **X), candidate("b.1", rank=1, **X)], ["b.1"]),
    "moved-and-merged": (
        [
            candidate("a.1", **X),
            candidate("b.1", rank=1, **X),
            candidate("m.2", rank=1, sources=["b.1"]),
        ],
        ["m.2"],
    ),
    "equal": ([candidate("a.1", **X), candidate("b.1", **X)], ["a.1", "b.1"]),
}


@pytest.mark.parametrize("case", TOLD)
def test_which_files_count(case: str) -> None:
    candidates, names = TOLD[case]
    assert taken(*candidates) == names
    assert sorted(taken(*reversed(candidates))) == sorted(names)
    assert decide(candidates).doubtful == []


NOT_TOLD = {
    "too-few-rows": [
        candidate("a.1"),
        candidate("b.1"),
        candidate("m.2", sources=["a.1", "b.1"], rows=1),
    ],
    "too-many-rows": [candidate("a.1"), candidate("m.2", sources=["a.1"], rows=11)],
    "other-times": [candidate("a.1", to=10), candidate("m.2", sources=["a.1"])],
    "no-lower-level": [candidate("a.1"), candidate("m.1", sources=["a.1"])],
    "earlier-layer": [candidate("a.1", rank=1), candidate("m.2", sources=["a.1"])],
    "another-of-that-name": [candidate("a.1", at=9), candidate("m.2", sources=["a.1", "b.1"])],
    "attempts": [
        candidate(ONE, sources=["a.1"], at=6),
        candidate(OTHER, sources=["a.1"], at=7, rows=1),
    ],
}


@pytest.mark.parametrize("case", NOT_TOLD)
def test_a_note_that_the_files_do_not_bear_out_is_doubtful(case: str) -> None:
    """Anybody can write one: it must not make files of others unreadable, and then deletable."""
    decision = decide(NOT_TOLD[case])
    assert decision.left_out == {}
    assert len(decision.taken) == len(NOT_TOLD[case])
    assert len(decision.doubtful) == 1
    assert "count twice" in decision.doubtful[0]


def test_one_that_was_written_anew_counts_beside_the_merged_one() -> None:
    anew = candidate("a.1", at=9, rows=3)
    decision = decide([anew, candidate("b.1"), candidate("m.2", sources=["a.1", "b.1"])])
    assert [entry.path[-11:] for entry in decision.taken] == ["a.1.parquet", "m.2.parquet"]
    assert len(decision.doubtful) == 1
    assert anew.entry.path in decision.doubtful[0]


def test_files_that_differ_between_equal_footers_both_count(lake: Lake) -> None:
    """Same instants, same first and last value: the footers are equal byte for byte."""
    path = f"{DAY}/hour=00/a.1.parquet"
    for layer, middle in (("hot", 2.0), ("cold", 3.0)):
        file = lake.file(path.replace("a.1", f"{layer}.1"), layer)
        file.parent.mkdir(parents=True)
        times = pa.array([BASE_NS, BASE_NS + 1, BASE_NS + 2], pa.int64())
        rows = pa.table({"__timestamp": times, "v": [1.0, middle, 9.0]})
        pq.write_table(rows, file, compression="none", use_dictionary=False)
    report = lake.rebuild()
    assert (report.registered, report.left_out) == (2, [])


def test_a_layer_that_is_not_there_is_an_error(lake: Lake, tmp_path: Path) -> None:
    """What lies in it would be missing from the catalog without a word."""
    lake.fill(1, 1)
    lake.write("c.1", layer="cold")
    (tmp_path / "cold").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"layer 'cold'.*is not there; mount it"):
        tables_in(lake.storages)
    (tmp_path / "cold").mkdir()
    assert tables_in(lake.storages) == [("db", "t")]
    (tmp_path / "hot").rename(tmp_path / "away")
    found = [(each.kind, each.layer) for each in lake.check().faults]
    assert found == [] if lake.kind == "json" else [("unreachable-layer", "hot")]


def test_what_gigapi_has_merged_is_pointed_out() -> None:
    decision = decide([candidate("a.1", at=4), candidate("m.2")])
    assert len(decision.taken) == 2
    assert len(decision.doubtful) == 1
    assert f"{DAY}/a.1.parquet" in decision.doubtful[0]


# The note in merged files


def test_a_note_lists_all_sources_and_inherits_what_it_can() -> None:
    inherited = note([f"old{n}" for n in range(MOST)])
    many = [f"p{n}" for n in range(MOST + 7)]
    marks = marks_in(note(many, [inherited]))
    assert marks == {mark(path) for path in many}
    assert len(marks_in(note(["one"], [inherited]))) == MOST
    assert marks_in(b"not a note") == frozenset()


def test_merged_files_carry_a_note(lake: Lake) -> None:
    if lake.kind != "sqlite":
        pytest.skip("the files are the same whatever the store")
    entries = lake.fill(2, 1)
    assert main(["compact", "db.t", *options(lake, "--merge", "0s,1GiB")]) == 0
    (merged,) = lake.index.get_all()
    metadata = pq.read_metadata(lake.file(merged.path)).metadata
    assert marks_in(metadata[KEY]) == {mark(entry.path) for entry in entries}
