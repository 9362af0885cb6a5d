"""What `worker`, `compact` and `retry` do."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog, storages_of
from gigapi_metadata.cli.errors import DONE, FAILED, NothingFound, WrongUsage, one_line
from gigapi_metadata.cli.options import table_name
from gigapi_metadata.cli.worker_show import Display, write_dry_run
from gigapi_metadata.errors import InvalidConfiguration, InvalidName
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker import Filter, Options, Selector, Worker
from gigapi_metadata.worker import compact as compact_table
from gigapi_metadata.worker.dry_run import plan_groups, unplanned
from gigapi_metadata.worker.finder import KINDS

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog

STOPPED = 143  # as the shell says it of SIGTERM


def worker(args: argparse.Namespace) -> int:
    """Carry out plans, or show them."""
    wanted = _filter(args)
    with open_catalog(args, writes=not args.dry_run) as catalog:
        if args.dry_run:
            return _dry_run(args, catalog, wanted)
        with Display(args.json) as display:
            options = _options(args, wanted)
            storages = storages_of(args, catalog)
            with Worker(catalog, storages, options, report=display.outcome) as working:
                with _stopped_by_signals(working.stop):
                    totals = working.run(once=args.once)
                stopped = working.stopped
    _leave_at_once_if(stopped)
    return FAILED if args.once and _failures(totals) else DONE


def compact(args: argparse.Namespace) -> int:
    """Merge now."""
    name = table_name(args)
    window = _window(args)
    with open_catalog(args, writes=True) as catalog, Display(args.json) as display:
        running: list[Worker] = []
        options = _options(args, Filter())

        def stop() -> None:
            for each in running:
                each.stop()

        with _stopped_by_signals(stop):
            outcomes = compact_table(
                catalog,
                storages_of(args, catalog),
                name.database,
                name.table,
                until_level=args.until_level,
                window=window,
                options=options,
                report=display.outcome,
                started=running.append,
            )
    _leave_at_once_if(any(each.stopped for each in running))
    if not outcomes:
        raise NothingFound(f"{name} has nothing to merge")
    return FAILED if _failures(Counter(each.status for each in outcomes)) else DONE


def retry(args: argparse.Namespace) -> int:
    """Make failed plans due."""
    name = table_name(args)
    with open_catalog(args, writes=True) as catalog:
        index = catalog.table(*name)
        plans = [
            plan
            for plan in index.plans()
            if (plan.id in args.ids if args.ids else plan.attempts > 0 or plan.error)
        ]
        due = [plan for plan in plans if index.retry(plan)]
    if args.json:
        output.write_json([{"id": plan.id, "kind": plan.kind, "error": plan.error} for plan in due])
    else:
        for plan in due:
            output.write(f"{plan.kind} {plan.id} is due again")
    missing = sorted(set(args.ids) - {plan.id for plan in due})
    if missing:
        raise NothingFound(f"{name} has no plan {', '.join(missing)} that nobody holds")
    if not due:
        raise NothingFound(f"{name} has no plans that have failed")
    return DONE


def _dry_run(args: argparse.Namespace, catalog: Catalog, wanted: Filter) -> int:
    names: list[tuple[str, str]] = []
    for database, table in wanted.selectors or [Selector(each) for each in catalog.databases()]:
        names += [(database, each) for each in ([table] if table else catalog.tables(database))]
    groups, left = [], []
    for name in names:
        index = catalog.table(*name)
        groups += plan_groups(index, wanted, time.time())
        left += unplanned(index)
    write_dry_run(groups, left, args.json)
    if not groups and not left:
        raise NothingFound("there is nothing to do")
    return DONE


# From the arguments


def _filter(args: argparse.Namespace) -> Filter:
    kinds = tuple(args.kinds.split(",")) if args.kinds else KINDS
    levels = None if args.level is None else (args.level,)
    largest = None if args.max_input_bytes is None else _size("max-input-bytes", args)
    try:
        selectors = [Selector.parse(text) for text in args.tables]
        wanted = Filter(selectors, kinds, args.writer_id, levels, _window(args), largest)
        wanted.check()
    except (InvalidName, InvalidConfiguration) as fault:
        raise WrongUsage(str(fault)) from fault
    return wanted


def _window(args: argparse.Namespace) -> Window:
    from gigapi_metadata.cli.times import parse_time

    bounds, now_ns = {}, time.time_ns()
    for option, field in (("since", "after"), ("until", "before")):
        text = getattr(args, option)
        if text is not None:
            try:
                bounds[field] = parse_time(text, now_ns)
            except ValueError as fault:
                raise WrongUsage(f"argument --{option}: {fault}") from fault
    return Window(**bounds)


def _options(args: argparse.Namespace, wanted: Filter) -> Options:
    return Options(
        wanted=wanted,
        concurrency=args.concurrency,
        memory=_size("memory", args),
        time_column=args.time_column,
        temporary=None if args.temporary is None else Path(args.temporary),
    )


def _size(option: str, args: argparse.Namespace) -> int:
    from gigapi_metadata.config.values import parse_size

    try:
        return parse_size(getattr(args, option.replace("-", "_")))
    except InvalidConfiguration as fault:
        raise WrongUsage(f"argument --{option}: {fault}") from fault


# How it ends


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop`; the second one ends the process at once."""
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        output.note("stopping: what runs may finish for some seconds; once more to stop at once")
        stop()

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    warnings = _Warnings()
    logging.getLogger("gigapi_metadata.worker").addHandler(warnings)
    try:
        yield
    finally:
        logging.getLogger("gigapi_metadata.worker").removeHandler(warnings)
        for number, old in before.items():
            signal.signal(number, old)


class _Warnings(logging.Handler):
    """What the worker warns of, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        output.note(f"warning: {one_line(record.getMessage())}")


def _leave_at_once_if(stopped: bool) -> None:
    """After a stop, do not wait for transfers that can't be interrupted: their plans are given
    back, and nothing of them will be registered."""
    if stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(DONE)


def _failures(totals: Counter[Any]) -> int:
    return int(totals["failed"] + totals["set aside"])
