"""A table's whole maintenance at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from worker_lab import BASE_NS, Lab, Tables, planned

from gigapi_metadata import IndexEntry, Layer
from gigapi_metadata.errors import MetadataError
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker import Filter, Options, Snapshot, demo_maintenance, maintenance

HOUR = 3600 * 10**9


@pytest.fixture
def tiers(tmp_path: Path) -> Lab:
    """A table of two layers where nothing is due by itself."""
    layers = (Layer(f"{tmp_path}/hot", "hot", "fs", 10**9), Layer(f"{tmp_path}/cold", "cold"))
    return Lab(tmp_path, layers=layers, merge=((10**6, 10**9, 1),), drop_grace_s=10**6)


def maintain(
    lab: Lab, catalog: Tables, tiered: Window = maintenance.ALWAYS, writer_id: str | None = None
) -> list[Snapshot]:
    found: list[Snapshot] = []
    options = Options(Filter(writer_id=writer_id), temporary=lab.temporary)
    demo_maintenance(
        catalog,
        lab.storages(),
        "db",
        "readings",
        lambda step, snapshot: found.append(snapshot),
        options,
        tiered=tiered,
    )
    return found


def test_only_what_overlaps_the_window_moves(tiers: Lab) -> None:
    with Tables(tiers) as catalog:
        tiers.add(catalog, 3, hours=[0, 1])
        entries = catalog.index().get_all()
        cut = max(entry.min_time for entry in entries if "hour=00" in entry.path)
        found = maintain(tiers, catalog, Window(before=cut))
        assert [(each.files, each.on_disk) for each in found] == [(6, 6), (2, 8), (2, 9), (2, 2)]
        assert found[-1].layers == {"hot": 1, "cold": 1}
        assert found[0].step_s == 0 < found[1].step_s
        (kept,) = [plan for plan in catalog.index().plans() if plan.kind == "move"]
        assert "hour=01" in kept.paths[0]


def test_other_writers_drops_wait(tiers: Lab) -> None:
    path = "date=2024-01-15/hour=07/other.1.parquet"
    with Tables(tiers) as catalog:
        tiers.add(catalog, 3)
        index = catalog.index()
        other = IndexEntry(
            "db", "readings", path, 1, BASE_NS, BASE_NS + HOUR, "hot", 1, BASE_NS, writer_id="other"
        )
        index.batch([other])
        index.batch((), [path])
        maintain(tiers, catalog, writer_id="")
        assert [plan.paths for plan in planned(index) if plan.kind == "drop"] == [[path]]


def test_rows_that_change_are_an_error(tiers: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tables(tiers) as catalog:
        added = tiers.add(catalog, 3)
        monkeypatch.setattr(
            maintenance, "_compact", lambda at: at.index.batch((), [added[0].path]) and None
        )
        with pytest.raises(MetadataError, match=r"rows of db\.readings are not the same"):
            maintain(tiers, catalog)


def test_a_merge_that_fails_is_an_error(tiers: Lab) -> None:
    def fail(step: str) -> None:
        if step == "merge:merged":
            raise OSError("no space")

    with Tables(tiers) as catalog:
        tiers.add(catalog, 3)
        options = Options(temporary=tiers.temporary, checkpoint=fail)
        with pytest.raises(MetadataError, match=r"a merge failed; see the plans of db\.readings"):
            demo_maintenance(catalog, tiers.storages(), "db", "readings", lambda *_: None, options)
