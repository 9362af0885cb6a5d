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
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, FAILED, NothingFound, WrongUsage, one_line
from gigapi_metadata.cli.options import table_name
from gigapi_metadata.cli.storages import check_folder, check_root, storages_of
from gigapi_metadata.cli.tables import check_table, known_tables
from gigapi_metadata.cli.worker_show import Display, write_dry_run, write_held
from gigapi_metadata.errors import InvalidConfiguration, InvalidName, StoreError
from gigapi_metadata.timerange import Window
from gigapi_metadata.worker import Filter, Options, Selector, Worker, held_merges
from gigapi_metadata.worker import compact as compact_table
from gigapi_metadata.worker.dry_run import plan_groups, unplanned
from gigapi_metadata.worker.finder import KINDS

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog


def worker(args: argparse.Namespace) -> int:
    """Carry out plans, or show them."""
    wanted = _filter(args)
    options = _options(args, wanted)
    with open_catalog(args) as catalog:
        if args.dry_run:
            return _dry_run(args, catalog, wanted)
        storages = storages_of(args, catalog)
        _look_for_tables(args, catalog, wanted)
        with (
            Display(args.json) as display,
            Worker(catalog, storages, options, report=display.outcome) as working,
        ):
            with _stopped_by_signals(working.stop):
                totals = working.run(once=args.once)
            stopped = working.stopped
    _leave_at_once_if(stopped)
    return FAILED if args.once and _failures(totals) else DONE


def compact(args: argparse.Namespace) -> int:
    """Merge now."""
    name = table_name(args)
    limits: dict[str, Any] = {"until_level": args.until_level, "window": _window(args)}
    options = _options(args, Filter())
    with open_catalog(args) as catalog:
        storages = storages_of(args, catalog)
        check_table(known_tables(catalog), *name)
        running: list[Worker] = []

        def stop() -> None:
            for each in running:
                each.stop()

        with Display(args.json) as display, _stopped_by_signals(stop):
            outcomes = compact_table(
                catalog,
                storages,
                *name,
                **limits,
                options=options,
                report=display.outcome,
                started=running.append,
            )
        _leave_at_once_if(any(each.stopped for each in running))
        held = held_merges(catalog.table(*name), **limits)
    if held:
        write_held(name, held, args.json)
        return FAILED
    if not outcomes:
        raise NothingFound(f"{name} has nothing to merge")
    return FAILED if _failures(Counter(each.status for each in outcomes)) else DONE


def retry(args: argparse.Namespace) -> int:
    """Make failed plans due."""
    name = table_name(args)
    with open_catalog(args) as catalog:
        check_table(known_tables(catalog), *name)
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
    check_root(args, catalog)
    known = known_tables(catalog)
    for database, table in wanted.selectors:
        check_table(known, database, table)
    groups, left = [], []
    for name in known:
        if wanted.selectors and not {Selector(*name), Selector(name[0])} & set(wanted.selectors):
            continue
        index = catalog.table(*name)
        groups += plan_groups(index, wanted, time.time())
        left += unplanned(index)
    write_dry_run(groups, left, args.json)
    if not groups and not left:
        raise NothingFound("there is nothing to do")
    return DONE


def _look_for_tables(args: argparse.Namespace, catalog: Catalog, wanted: Filter) -> None:
    """With --once a table that is not there is an error; else it may come, and is waited for."""
    if not wanted.selectors:
        return
    try:
        known = known_tables(catalog)
    except StoreError:
        if args.once:
            raise
        return  # it is waited for as well
    for database, table in wanted.selectors:
        try:
            check_table(known, database, table)
        except NothingFound as fault:
            if args.once:
                raise
            output.note(f"{fault}; waiting for it")


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
    window = Window(**bounds)
    if window.after > window.before:
        raise WrongUsage("argument --since: it is later than --until, so no file has such data")
    return window


def _options(args: argparse.Namespace, wanted: Filter) -> Options:
    if args.temporary is not None:
        check_folder("temporary", args.temporary)
        if not os.access(args.temporary, os.W_OK | os.X_OK):
            raise WrongUsage(f"argument --temporary: {args.temporary} may not be written to")
    options = Options(
        wanted=wanted,
        concurrency=args.concurrency,
        memory=_size("memory", args),
        time_column=args.time_column,
        temporary=None if args.temporary is None else Path(args.temporary),
    )
    try:
        options.check()
    except InvalidConfiguration as fault:
        raise WrongUsage(f"argument --memory: {fault}") from fault
    return options


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
