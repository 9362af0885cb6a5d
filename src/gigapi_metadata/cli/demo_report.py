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
from gigapi_metadata.cli.output import write
from gigapi_metadata.cli.plans import due
from gigapi_metadata.urls import REDIS_SCHEMES, hide


def program() -> str:
    """How this program was called, for commands to copy."""
    called = sys.argv[0] if sys.argv else ""
    if os.path.basename(called) != output.PROGRAM:
        return f"{shlex.quote(sys.executable)} -m gigapi_metadata"
    if os.path.realpath(shutil.which(output.PROGRAM) or "") == os.path.realpath(called):
        return output.PROGRAM
    return shlex.quote(min(called, os.path.relpath(called), key=len))


def tell(result: dict[str, Any], catalog: str | None) -> None:
    """Print the whole report."""
    _tell_work(result)
    _tell_queries(result["queries"])
    _tell_late(result["queries"])
    if result["plans"]:
        _tell_plans(result["plans"])
    _tell_more(result, catalog)


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


def _tell_more(result: dict[str, Any], catalog: str | None) -> None:
    """Commands to copy. A password in the catalog's URL is not repeated."""
    folder, table = shlex.quote(result["folder"]), f"{DATABASE}.{TABLE}"
    url = hide(catalog or result["folder"])
    call = f"{program()} --catalog {shlex.quote(url)}"
    back = OUTAGES[-1].end
    after, before = output.iso(back - 6 * MINUTE), output.iso(back - 5 * MINUTE)
    write("Try next")
    write(f"  {call} files {table} --after {after} --before {before}")
    write(f"  {call} show {table} {late_file(OUTAGES[-1]).path}")
    write(f"  {call} plans {table}")
    write(f"  {call} scan {folder}")
    write("")
    write("Clean up")
    write(f"  rm -r {folder}")
    if url.startswith(REDIS_SCHEMES):
        keys = shlex.quote(f"*:{DATABASE}:{TABLE}*")
        socket = url.removeprefix("unix://").partition("?")[0]
        place = f"-u {shlex.quote(url)}" if socket == url else f"-s {shlex.quote(socket)}"
        cli = f"redis-cli {place}"
        write(f"  {cli} --scan --pattern {keys} | xargs {cli} del")
