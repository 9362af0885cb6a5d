"""What the demo says about its work."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from typing import Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.demo_lake import DATABASE, MINUTE, OUTAGES, TABLE, late_file
from gigapi_metadata.cli.demo_upkeep import COLD, HOT, HOT_FROM
from gigapi_metadata.cli.output import write
from gigapi_metadata.cli.plans import due
from gigapi_metadata.names import dir_of
from gigapi_metadata.urls import REDIS_SCHEMES, hide


def program() -> str:
    """How this program was called, for commands to copy."""
    called = sys.argv[0] if sys.argv else ""
    if os.path.basename(called) != output.PROGRAM:
        return f"{shlex.quote(sys.executable)} -m gigapi_metadata"
    if os.path.realpath(shutil.which(output.PROGRAM) or "") == os.path.realpath(called):
        return output.PROGRAM
    return shlex.quote(min(called, os.path.relpath(called), key=len))


def tell_lake(result: dict[str, Any]) -> None:
    """Print what was written, registered and found."""
    _tell_work(result)
    _tell_queries(result["queries"])
    _tell_late(result["queries"])
    if result["plans"]:
        _tell_plans(result["plans"])


def tell_upkeep(result: dict[str, Any]) -> None:
    """Print how the table was before and after each step of its upkeep."""
    if result["maintenance"] is None:
        write("To see what a worker makes of it: pip install 'gigapi-metadata[worker]', and again")
        write("")
        return
    write("What a worker does as time goes by, done at once")
    _tell_steps(result["maintenance"]["steps"])
    _tell_meaning(result)
    _tell_same(result["maintenance"])


def _tell_work(result: dict[str, Any]) -> None:
    files = output.count(result["files"], "file")
    written = f"{result['rows']:,} rows, {output.size(result['size_bytes'])}"
    place = result["catalog"]
    if result["registered"] < result["files"]:
        place += f" ({result['files'] - result['registered']:,} were there from an earlier demo)"
    write(f"One morning of sensor readings, in {result['folder']}/")
    write("")
    write(f"  wrote       {files}  {result['write_seconds']:5.2f} s  {written}")
    write(f"  registered  {files}  {result['register_seconds']:5.2f} s  in {place}")
    write(f"  they cover  {result['min_time_iso'][:19]}Z to {result['max_time_iso'][:19]}Z")
    write("")


def _tell_queries(queries: list[dict[str, Any]]) -> None:
    write("Queries, in UTC")
    for query in queries:
        span = f"{query['after_iso'][11:19]} - {query['before_iso'][11:19]}"
        found = output.count(query["files"], "file")
        write(f"  {query['label']:<22}{span:<22}{found:>10}{query['milliseconds']:>9.2f} ms")
    write("")


def _tell_late(queries: list[dict[str, Any]]) -> None:
    """The file that reaches over the hour, and which query would lose it."""
    outage = OUTAGES[-1]
    path = late_file(outage).path
    query = next(each for each in queries if path in each["missed_by_folder_name"])
    lost, back = output.iso(outage.start)[11:16], output.iso(outage.end)[11:16]
    found, by_name = query["files"], query["files"] - len(query["missed_by_folder_name"])
    write("A late arrival")
    write(
        f"  The {outage.sensor} had no link from {lost} to {back}; then its readings came at once,"
    )
    write("  in a file that lies where the first one belongs, and reaches over the hour:")
    write(f"  {path}")
    write(f"  Looking for {query['label']} by the names of folders finds {by_name} files.")
    write(f"  The catalog goes by what the files hold, and finds {found}.")
    write("")


def _tell_plans(plans: list[dict[str, Any]]) -> None:
    now_s = int(time.time())
    write("Merges waiting for a worker")
    for plan in plans:
        files = output.count(plan["files"], "file")
        size = output.size(plan["size_bytes"])
        when = due(plan["due_s"], now_s)
        write(f"  {plan['folder']:<25}{files:>10}{size:>12}   due {when}")
    write("")


_STEPS = {"before": "before", "compacted": "merged", "tiered": "moved", "dropped": "deleted"}
_SHOWN = {"the last ten minutes": "last 10 min", "the whole morning": "whole morning"}


def _tell_steps(steps: list[dict[str, Any]]) -> None:
    """The table: as right-aligned numbers, then where the files are."""
    rows = [["", "took", "files", "bytes", "on disk", *_SHOWN.values(), "layers"]]
    for step in steps:
        times = {query["label"]: query["milliseconds"] for query in step["queries"]}
        rows.append(
            [
                _STEPS[step["step"]],
                "" if step["step"] == "before" else f"{step['seconds']:.2f} s",
                f"{step['files']:,}",
                output.size(step["size_bytes"]),
                f"{step['on_disk']:,}",
                *(f"{times[label]:.1f} ms" for label in _SHOWN),
                ", ".join(f"{name} {files:,}" for name, files in step["layers"].items()),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers, last in rows:
        cells = "  ".join(
            cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)
        )
        write(f"  {first:<{widths[0]}}  {cells}   {last}")
    write("")


def _tell_meaning(result: dict[str, Any]) -> None:
    since = output.iso(HOT_FROM)[11:16]
    cold = os.path.join(result["folder"], COLD)
    write("  merged    each hour's small files into one, sorted by time")
    write(f"  moved     what begins before {since} to the layer {COLD}, in {cold}/")
    write("  deleted   what this left behind; a worker first gives readers 30 s to finish")
    write(
        "  The two queries are timed from the question to the answer: the catalog finds the files,"
    )
    write("  DuckDB reads them.")
    write("")


def _tell_same(upkeep: dict[str, Any]) -> None:
    """That nothing was lost or doubled, and how that was checked."""
    steps = upkeep["steps"]
    answers = sum(len(step["queries"]) for step in steps)
    write(f"The same {upkeep['rows']:,} rows, now in {output.count(steps[-1]['files'], 'file')}")
    write(
        "  After each step every row was read again: neither their number has changed nor the sum"
    )
    write(f"  of their hashes, {upkeep['checksum']}. All {answers} answers to queries agree.")
    write("")


def tell_more(result: dict[str, Any], catalog: str | None, layers: str, paths: list[str]) -> None:
    """Commands to copy. A password in the catalog's URL is not repeated."""
    folder = shlex.quote(result["folder"])
    url = hide(catalog or result["folder"])
    call = f"{program()} --catalog {shlex.quote(url)}"
    with_layers = f"{call} --layers {shlex.quote('@' + layers)}"
    write("Try next")
    for command in _commands(result, paths):
        needs_layers = command.startswith(("worker", "scan")) or url.startswith("json:")
        write(f"  {with_layers if needs_layers else call} {command}")
    write("")
    write("Clean up")
    write(f"  rm -r {folder}")
    if url.startswith(REDIS_SCHEMES):
        keys = shlex.quote(f"*:{DATABASE}:{TABLE}*")
        socket = url.removeprefix("unix://").partition("?")[0]
        place = f"-u {shlex.quote(url)}" if socket == url else f"-s {shlex.quote(socket)}"
        cli = f"redis-cli {place}"
        write(f"  {cli} --scan --pattern {keys} | xargs {cli} del")


def _commands(result: dict[str, Any], paths: list[str]) -> list[str]:
    """`paths`: the files that there are now, in the order of their data."""
    table = f"{DATABASE}.{TABLE}"
    back = OUTAGES[-1].end
    after, before = output.iso(back - 6 * MINUTE), output.iso(back - 5 * MINUTE)
    late = late_file(OUTAGES[-1]).path
    if late not in paths:  # it was merged with the rest of its folder
        late = next(path for path in paths if dir_of(path) == dir_of(late))
    commands = [
        f"files {table} --after {after} --before {before}",
        f"show {table} {late}",
        f"plans {table}",
        f"scan {shlex.quote(result['folder'])} --layer {HOT}",
    ]
    if result["maintenance"] is not None:
        commands.append(f"worker {table} --dry-run")
        commands.append(f"worker {table} --once  # in a minute: the last file is due to move")
    return commands
