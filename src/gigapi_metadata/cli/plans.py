"""`plans`: what waits to be merged, moved or deleted, and what is being worked on."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, NothingFound
from gigapi_metadata.cli.options import add_command, add_table, table_name

if TYPE_CHECKING:
    from gigapi_metadata.model import QueuedPlan

_DESCRIPTION = """\
The plans of a table: merges, moves to the next layer, and drops (files to be deleted). By default
one line for each kind, merge level, state, layer and writer; --all lists every plan.

DUE is when the first of them may be handed out, for leased ones when it may be handed out again;
"on retry" if they were set aside. Drops that a worker queues in case it is killed before a result
of its own is registered are listed with --all only.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "plans", "show the plans that wait or are leased", _DESCRIPTION)
    add_table(parser)
    parser.add_argument("--all", action="store_true", help="list every plan")
    parser.add_argument("--kind", choices=("merge", "move", "drop"), help="plans of this kind")
    parser.add_argument("--state", choices=("waiting", "leased"), help="plans in this state")
    parser.add_argument("--failed", action="store_true", help="plans that have failed; see retry")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the plans."""
    from gigapi_metadata.planning import UNFINISHED

    name = table_name(args)
    with open_catalog(args) as catalog:
        plans = catalog.table(*name).plans()
    found = [
        plan
        for plan in plans
        if args.kind in (None, plan.kind)
        and args.state in (None, plan.state)
        and (plan.error or not args.failed)
        and (plan.writer_id != UNFINISHED or args.all)
    ]
    now_s = int(time.time())
    if args.json:
        output.write_json([_object(plan, now_s) for plan in found])
    elif found and args.all:
        _write_each(found, now_s)
    elif found:
        write_summary(found, now_s)
    if not found:
        raise NothingFound(f"{name} has no such plans")
    return DONE


def write_summary(plans: list[QueuedPlan], now_s: int) -> None:
    """One line for each kind, level, state, layer and writer."""
    groups: dict[tuple[str, int, str, str, str], list[QueuedPlan]] = {}
    for plan in plans:
        key = (plan.kind, plan.iteration, plan.state, plan.layer, plan.writer_id)
        groups.setdefault(key, []).append(plan)
    output.write_table(
        "KIND >LEVEL STATE >PLANS >FILES >SIZE DUE LAYER WRITER >FAILED",
        (
            [
                kind,
                _level(level),
                state,
                f"{len(group):,}",
                f"{sum(len(plan.paths) for plan in group):,}",
                _size(sum(plan.size_bytes for plan in group)),
                due(min(plan.due_s for plan in group), now_s),
                layer or "-",
                writer or "-",
                f"{sum(1 for plan in group if plan.error):,}",
            ]
            for (kind, level, state, layer, writer), group in groups.items()
        ),
    )


def _write_each(plans: list[QueuedPlan], now_s: int) -> None:
    output.write_table(
        "KIND >LEVEL STATE DUE >FILES >SIZE LAYER WRITER FOLDER ID >TRIES ERROR",
        (
            [
                plan.kind,
                _level(plan.iteration),
                plan.state,
                due(plan.due_s, now_s),
                f"{len(plan.paths):,}",
                _size(plan.size_bytes),
                plan.layer or "-",
                plan.writer_id or "-",
                plan.dir or "-",
                plan.id or "-",
                f"{plan.attempts:,}",
                plan.error or "-",
            ]
            for plan in plans
        ),
    )


def due(due_s: int, now_s: int) -> str:
    """How far a due time is from now; "on retry" for a plan that was set aside."""
    from gigapi_metadata.planning import is_set_aside

    if due_s <= 0:
        return "now"
    distance = due_s - now_s
    if is_set_aside(due_s, now_s):
        return "on retry"
    return f"in {_period(distance)}" if distance > 0 else f"{_period(-distance)} ago"


def _period(seconds: int) -> str:
    return f"{seconds} s" if seconds < 10 else output.period(seconds)


def _level(iteration: int) -> str:
    return str(iteration) if iteration else "-"


def _size(size_bytes: int) -> str:
    """Only merges know their size."""
    return output.size(size_bytes) if size_bytes else "-"


def _object(plan: QueuedPlan, now_s: int) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(plan) | {
        "due_iso": output.iso(plan.due_s * 10**9),
        "overdue_s": max(0, now_s - plan.due_s),
    }
