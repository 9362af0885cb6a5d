"""The work of `demo`: fill a small lake, register it, query it, keep it up."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gigapi_metadata.cli import demo_lake, demo_report, demo_upkeep, output
from gigapi_metadata.cli.context import configured_url, settings
from gigapi_metadata.cli.demo_lake import DATABASE, TABLE
from gigapi_metadata.cli.demo_queries import WINDOWS, find
from gigapi_metadata.cli.demo_upkeep import COLD, HOT, HOT_TTL_S, WRITER
from gigapi_metadata.cli.errors import DONE, Failed, WrongUsage

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.model import QueuedPlan

LAYERS = "layers.json"

_MARK = Path(".gigapi", "demo")
_MARK_TEXT = f"""\
Made by `gigapi-metadata demo`. Run again, it replaces {LAYERS}, {DATABASE}/{TABLE},
{COLD}/{DATABASE}/{TABLE} and the catalog beside this file.
"""


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    if args.layers or getattr(args, "command_layers", None):
        raise WrongUsage("argument --layers: the demo has layers of its own; leave it out")
    folder = Path(args.folder)
    _prepare(folder)
    with _open(args, folder) as catalog:
        index = catalog.table(DATABASE, TABLE)
        _forget_earlier(index)
        result = _fill(index, folder, _place(args, folder))
        if not args.json:
            demo_report.tell_lake(result)
            sys.stdout.flush()  # to be read while the rest goes on
        result["layers"] = [msgspec.structs.asdict(layer) for layer in catalog.layers]
        result["maintenance"] = demo_upkeep.keep_up(catalog) if demo_upkeep.is_possible() else None
        paths = [entry.path for entry in index.query(before=demo_lake.END)]
    if args.json:
        output.write_json(result)
    else:
        demo_report.tell_upkeep(result)
        demo_report.tell_more(result, args.catalog, os.fspath(folder / LAYERS), paths)
    return DONE


# The folder


def _prepare(folder: Path) -> None:
    """An empty lake at `folder`: a new one, or an earlier demo's without what that made."""
    mark = folder / _MARK
    if mark.is_file():
        _check_only_demo(folder)
        for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
            (folder / ".gigapi" / name).unlink(missing_ok=True)
        for root in (folder, folder / COLD):
            shutil.rmtree(root / DATABASE / TABLE, ignore_errors=True)
    elif os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise Failed(f"{folder} is there already and is no demo's; {_remedy()}")
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(_MARK_TEXT)
    _write_layers(folder)


def _check_only_demo(folder: Path) -> None:
    from gigapi_metadata.catalog import connect

    for part in (Path(DATABASE), Path(COLD), Path(COLD, DATABASE), Path(LAYERS)):
        if (folder / part).is_symlink():
            raise Failed(f"{folder / part} is a link, which no demo made; {_remedy()}")
    with connect(os.path.join(folder.absolute(), "")) as catalog:
        tables = [(name, table) for name in catalog.databases() for table in catalog.tables(name)]
    if any(table != (DATABASE, TABLE) for table in tables):
        raise Failed(f"{folder} holds more than {DATABASE}.{TABLE} by now; {_remedy()}")


def _write_layers(folder: Path) -> None:
    """The demo's layers, for itself and for the commands that it names."""
    root = os.path.abspath(folder)
    layers = [
        {"name": HOT, "url": root, "ttl_sec": HOT_TTL_S},
        {"name": COLD, "url": os.path.join(root, COLD)},
    ]
    lines = ",\n".join(msgspec.json.encode(layer).decode() for layer in layers)
    (folder / LAYERS).write_text(f"[\n{lines}\n]\n")


def _remedy() -> str:
    return f"name another folder: {demo_report.program()} demo FOLDER"


# The catalog


def _open(args: argparse.Namespace, folder: Path) -> Catalog:
    """The catalog, whose files may be deleted as soon as they have left it: nobody reads them."""
    from gigapi_metadata.catalog import connect
    from gigapi_metadata.errors import InvalidConfiguration

    own = argparse.Namespace(**vars(args) | {"layers": [f"@{folder / LAYERS}"]})
    found = settings(own, environ={})
    url = configured_url(found) or os.path.join(os.path.abspath(folder), "")
    try:
        return connect(url, found.layers, found.merge_configurations, drop_grace_s=0)
    except InvalidConfiguration as fault:
        raise WrongUsage(f"argument --catalog: {fault}" if args.catalog else str(fault)) from fault


def _place(args: argparse.Namespace, folder: Path) -> str:
    """Where the catalog is, for people."""
    from gigapi_metadata.catalog import FOLDER_CATALOG
    from gigapi_metadata.urls import hide

    return hide(args.catalog) if args.catalog else str(folder / FOLDER_CATALOG)


def _forget_earlier(index: Index[Any]) -> None:
    """Take out what an earlier demo has left in a catalog that outlives its folder: its files are
    gone. Those that come again just as they were may stay.

    Raises:
        Failed: there are files that no demo wrote.
    """
    entries = index.get_all()
    strangers = sum(entry.writer_id != WRITER for entry in entries)
    if strangers:
        raise Failed(
            f"{DATABASE}.{TABLE} in this catalog holds {output.count(strangers, 'file')} that "
            "no demo wrote; use another catalog"
        )
    again = {(file.path, HOT) for file in demo_lake.planned_files()}
    index.batch((), [entry.path for entry in entries if (entry.path, entry.layer) not in again])
    for plan in index.plans():
        if plan.kind == "drop" and plan.writer_id == WRITER:
            index.retry(plan)
    for layer in (HOT, COLD):
        while drop := index.get_drop_queue(WRITER, layer):
            index.rm_from_drop_queue(drop)


def _fill(index: Index[Any], folder: Path, place: str) -> dict[str, Any]:
    """Write the files, register them, ask for them."""
    from gigapi_metadata.scan import ScanOptions, scan_table

    data = folder / DATABASE / TABLE / "data"
    started = time.perf_counter()
    rows = sum(demo_lake.write_files(data))
    written = time.perf_counter()
    report = scan_table(index, data, ScanOptions(writer_id=WRITER))
    registered = time.perf_counter()
    return {
        "folder": str(folder),
        "catalog": place,
        "database": DATABASE,
        "table": TABLE,
        "files": report.found,
        "rows": rows,
        "size_bytes": sum(entry.size_bytes for entry in index.get_all()),
        "registered": report.registered,
        "write_seconds": round(written - started, 3),
        "register_seconds": round(registered - written, 3),
        **_covered(index),
        "queries": [find(index, window) for window in WINDOWS],
        "plans": [_plan(plan) for plan in index.plans() if _is_new(plan)],
    }


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


def _is_new(plan: QueuedPlan) -> bool:
    """Whether it is a merge of the files just written, and not left over by an earlier demo."""
    return (plan.kind, plan.iteration, plan.layer) == ("merge", 1, HOT)


def _plan(plan: QueuedPlan) -> dict[str, Any]:
    return {
        "folder": plan.dir,
        "iteration": plan.iteration,
        "files": len(plan.paths),
        "size_bytes": plan.size_bytes,
        "due_s": plan.due_s,
    }
