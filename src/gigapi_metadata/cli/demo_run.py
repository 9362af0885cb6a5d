"""The work of `demo`: fill a small lake, register it, query it."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import demo_lake, demo_report, output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.demo_lake import DATABASE, END, HOUR, MINUTE, START, TABLE
from gigapi_metadata.cli.errors import DONE, Failed

if TYPE_CHECKING:
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.model import QueuedPlan

_MARK = Path(".gigapi", "demo")
_MARK_TEXT = f"""\
Made by `gigapi-metadata demo`. Run again, it replaces {DATABASE}/{TABLE} and the catalog
beside this file.
"""


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from gigapi_metadata.scan import ScanOptions, scan_table

    folder = Path(args.folder)
    _prepare(folder)
    with open_catalog(args, args.folder, writes=True, environ={}) as catalog:
        index = catalog.table(DATABASE, TABLE)
        ours = {file.path for file in demo_lake.planned_files()}
        strangers = sum(entry.path not in ours for entry in index.get_all())
        if strangers:
            raise Failed(
                f"{DATABASE}.{TABLE} in this catalog holds {output.count(strangers, 'file')} that "
                "no demo wrote; use another catalog"
            )
        data = folder / DATABASE / TABLE / "data"
        started = time.perf_counter()
        rows = sum(demo_lake.write_files(data))
        written = time.perf_counter()
        report = scan_table(index, data, ScanOptions())
        registered = time.perf_counter()
        result = {
            "folder": str(folder),
            "catalog": _place(args, folder),
            "database": DATABASE,
            "table": TABLE,
            "files": report.found,
            "rows": rows,
            "size_bytes": sum(entry.size_bytes for entry in index.get_all()),
            "registered": report.registered,
            "write_seconds": round(written - started, 3),
            "register_seconds": round(registered - written, 3),
            **_covered(index),
            "queries": [_query(index, *window) for window in _WINDOWS],
            "plans": [_plan(plan) for plan in index.plans() if plan.kind == "merge"],
        }
    if args.json:
        output.write_json(result)
    else:
        demo_report.tell(result, args.catalog)
    return DONE


def _prepare(folder: Path) -> None:
    """An empty lake at `folder`: a new one, or an earlier demo's without what that made."""
    mark = folder / _MARK
    if mark.is_file():
        _check_only_demo(folder)
        for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
            (folder / ".gigapi" / name).unlink(missing_ok=True)
        shutil.rmtree(folder / DATABASE / TABLE, ignore_errors=True)
    elif os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise Failed(f"{folder} is there already and is no demo's; {_remedy()}")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(_MARK_TEXT)


def _check_only_demo(folder: Path) -> None:
    from gigapi_metadata.catalog import connect

    with connect(os.path.join(folder.absolute(), "")) as catalog:
        tables = [(name, table) for name in catalog.databases() for table in catalog.tables(name)]
    if any(table != (DATABASE, TABLE) for table in tables):
        raise Failed(f"{folder} holds more than {DATABASE}.{TABLE} by now; {_remedy()}")


def _remedy() -> str:
    return f"name another folder: {demo_report.program()} demo FOLDER"


def _place(args: argparse.Namespace, folder: Path) -> str:
    """Where the catalog is, for people."""
    from gigapi_metadata.catalog import FOLDER_CATALOG
    from gigapi_metadata.urls import hide

    return hide(args.catalog) if args.catalog else str(folder / FOLDER_CATALOG)


def _covered(index: Index[Any]) -> dict[str, Any]:
    entries = index.get_all()
    lowest = min(entry.min_time for entry in entries)
    highest = max(entry.max_time for entry in entries)
    return {
        "min_time": lowest,
        "max_time": highest,
        "min_time_iso": output.iso(lowest),
        "max_time_iso": output.iso(highest),
    }


_TEN = START + 2 * HOUR
_WINDOWS = (
    ("the last ten minutes", END - 10 * MINUTE, END - 1),
    ("one whole hour", START + HOUR, START + 2 * HOUR - 1),
    ("two minutes past ten", _TEN, _TEN + 2 * MINUTE - 1),
    ("around ten o'clock", _TEN - 5 * MINUTE, _TEN + 5 * MINUTE - 1),
    ("the whole morning", START, END - 1),
)


def _query(index: Index[Any], label: str, after: int, before: int) -> dict[str, Any]:
    """One query: how many files it finds, how long it takes, and what the folders' names miss."""
    started = time.perf_counter()
    found = index.query(after=after, before=before)
    seconds = time.perf_counter() - started
    hours = [f"/hour={output.iso(at)[11:13]}/" for at in range(after - after % HOUR, before, HOUR)]
    missed = [entry.path for entry in found if not any(hour in entry.path for hour in hours)]
    return {
        "label": label,
        "after": after,
        "before": before,
        "after_iso": output.iso(after),
        "before_iso": output.iso(before),
        "files": len(found),
        "milliseconds": round(seconds * 1000, 3),
        "missed_by_folder_name": missed,
    }


def _plan(plan: QueuedPlan) -> dict[str, Any]:
    return {
        "folder": plan.dir,
        "iteration": plan.iteration,
        "files": len(plan.paths),
        "size_bytes": plan.size_bytes,
        "due_s": plan.due_s,
    }
