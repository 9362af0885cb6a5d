"""What the worker's commands show: a line a job, JSON lines, a display on a terminal, a dry run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from threading import Lock
from typing import Any, Self

import msgspec

from gigapi_metadata.cli import output
from gigapi_metadata.cli.options import TableName
from gigapi_metadata.cli.progress import can_show
from gigapi_metadata.model import Plan
from gigapi_metadata.names import dir_of
from gigapi_metadata.worker.compact import Held
from gigapi_metadata.worker.dry_run import Group, Unplanned
from gigapi_metadata.worker.loop import Worker
from gigapi_metadata.worker.outcome import Outcome, kind_of, paths_of


class Display:
    """Shows outcomes as they come: lines, or with `as_json` JSON lines, to stdout; on a terminal
    with rich also what `workers` are doing and what has been done so far, below them. For any
    thread."""

    def __init__(self, as_json: bool, workers: Sequence[Worker] = ()) -> None:
        self._json = as_json
        self._workers = workers
        self._encode = msgspec.json.Encoder().encode
        self._lock = Lock()
        self._status: Any = None
        self._jobs = self._files = self._bytes_in = self._bytes_out = self._failed = 0

    def outcome(self, outcome: Outcome) -> None:
        """Show one."""
        with self._lock:
            text = (
                self._encode(outcome.as_dict()).decode()
                if self._json
                else output.printable(outcome.line())
            )
            if self._status is None:
                output.write(text)
            else:
                self._status.console.print(text, markup=False, highlight=False, soft_wrap=True)
            sys.stdout.flush()
            self._jobs += 1
            self._files += outcome.work.files_in
            self._bytes_in += outcome.work.bytes_in
            self._bytes_out += outcome.work.bytes_out
            self._failed += outcome.status in ("failed", "set aside")

    def __rich__(self) -> Any:
        """What rich shows, asked for several times a second. Takes no lock: rich holds its own."""
        from rich.text import Text

        return Text(self._summary(), no_wrap=True, overflow="ellipsis")

    def _summary(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        done = (
            f"{output.count(self._jobs, 'job')}, {output.count(self._files, 'file')}, "
            f"{output.size(self._bytes_in)} -> {output.size(self._bytes_out)}{failed}"
        )
        plans = [plan for worker in self._workers for plan in worker.running]
        if not plans:
            return f"waiting; done: {done}"
        more = f" and {len(plans) - 1} more" if len(plans) > 1 else ""
        return f"{_describe(plans[0])}{more}; done: {done}"

    def __enter__(self) -> Self:
        if can_show() and sys.stdout.isatty() and not self._json:
            try:
                from rich.console import Console
            except ImportError:
                return self
            self._status = Console().status(self)
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _describe(plan: Plan) -> str:
    """What a job is about, on one line."""
    paths = paths_of(plan)
    what = f"{kind_of(plan)} {plan.database}.{plan.table} {dir_of(paths[0])}"
    return output.printable(f"{what}, {output.count(len(paths), 'file')}")


def write_dry_run(groups: list[Group], left: list[Unplanned], as_json: bool) -> None:
    """What a worker would do, and the folders it would leave alone."""
    if as_json:
        output.write_json(
            {
                "groups": [msgspec.to_builtins(group) for group in groups],
                "unplanned": [msgspec.to_builtins(each) for each in left],
            }
        )
        return
    if groups:
        output.write_table(
            "TABLE KIND >LEVEL STATE >PLANS >FILES >SIZE DUE LAYER WRITER FOLDER REASON",
            [
                [
                    f"{group.database}.{group.table}",
                    group.kind,
                    str(group.level or "-"),
                    group.state,
                    f"{group.plans:,}",
                    f"{group.files:,}",
                    output.size(group.size_bytes) if group.size_bytes else "-",
                    _due(group),
                    group.layer or "-",
                    group.writer_id or "-",
                    group.dir or "-",
                    group.error or "-",
                ]
                for group in groups
            ],
        )
    for each in left:
        output.write(
            f"{each.database}.{each.table} {each.dir}: {output.count(each.files, 'file')} of level "
            f"{each.level} ({output.size(each.size_bytes)}) in no merge plan: {each.why}"
        )


def write_held(name: TableName, held: list[Held], as_json: bool) -> None:
    """Merges that are left to the workers which hold them."""
    now_s = time.time()
    for each in held:
        fields = msgspec.structs.asdict(each)
        if as_json:
            table = {"kind": "merge", "database": name.database, "table": name.table}
            output.write_json(table | {"status": "held"} | fields)
            continue
        layer = f" in layer {each.layer}" if each.layer else ""
        writer = f" of writer {each.writer_id}" if each.writer_id else ""
        output.note(
            f"{name}: {output.count(each.plans, 'merge')} of level {each.level}{layer}{writer} "
            f"({output.count(each.files, 'file')}) held by other workers until "
            f"{output.iso(each.until_s * 10**9)}, in {output.period(each.until_s - now_s)}; "
            "compact again then"
        )


def _due(group: Group) -> str:
    if group.state == "set aside":
        return "on retry"
    return f"in {output.period(group.due_in_s)}" if group.due_in_s else "now"
