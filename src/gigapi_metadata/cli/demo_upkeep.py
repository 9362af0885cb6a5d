"""What a worker would do to the demo's lake in the course of time, done at once: merges, moves to
the second layer, drops. Every query is asked after each step."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli.demo_lake import DATABASE, HOUR, START, TABLE
from gigapi_metadata.cli.demo_queries import answer
from gigapi_metadata.cli.errors import Failed

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.worker import Snapshot

WRITER = "gigapi-metadata-demo"
"""Whose files the demo's are. In a catalog that others use as well, it touches no others."""

HOT, COLD = "hot", "cold"
HOT_TTL_S = 60
"""Longer than merges wait, so that what moves has been merged."""

HOT_FROM = START + 2 * HOUR
"""What begins before this moves on at once; what does not stays for its time."""


def is_possible() -> bool:
    """Whether what a worker needs is installed."""
    return all(find_spec(name) for name in ("duckdb", "obstore", "pyarrow"))


def keep_up(catalog: Catalog) -> dict[str, Any]:
    """Do it all; how the table was before and after each step.

    Raises:
        MetadataError: a step failed, or the rows are not the same after it.
        Failed: a query's answer is not the same as before.
    """
    from gigapi_metadata.storage import Storages
    from gigapi_metadata.timerange import Window
    from gigapi_metadata.worker import Filter, Options, demo_maintenance

    storages = Storages(catalog.layers)
    index = catalog.table(DATABASE, TABLE)
    steps: list[dict[str, Any]] = []
    answers: list[Any] = []

    def note(name: str, found: Snapshot) -> None:
        values, queries = answer(index, storages)
        answers.append(values)
        if values != answers[0]:
            raise Failed(f"{name}, a query's answer is not what it was before")
        steps.append(_step(name, found, queries))

    options = Options(Filter(writer_id=WRITER), concurrency=4)
    older = Window(before=HOT_FROM - 1)
    _, last = demo_maintenance(catalog, storages, DATABASE, TABLE, note, options, tiered=older)
    return {
        "steps": steps,
        "rows": last.rows,
        "checksum": f"{last.checksum:x}",
        "same_rows": True,
        "same_answers": True,
    }


def _step(name: str, found: Snapshot, queries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "step": name,
        "seconds": round(found.step_s, 3),
        "files": found.files,
        "size_bytes": found.bytes,
        "rows": found.rows,
        "on_disk": found.on_disk,
        "layers": found.layers,
        "queries": queries,
    }
