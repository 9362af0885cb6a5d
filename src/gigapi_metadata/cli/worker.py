"""`worker`, `compact`, `retry`: merges, moves and drops carried out. The work is in worker_run.py,
which only they load."""

from __future__ import annotations

import argparse
from typing import Any

from gigapi_metadata.cli.options import Parser, add_command, add_table, positive

_WORKER = """\
Carry out what is due: merge small files, move files to the next layer, delete files that have left
the catalog. Any number of workers may run, on any machine that reaches the catalog and the files;
each plan is leased by one of them at a time.

Without DB[.TABLE] all tables are worked on, new ones too. SIGTERM or Ctrl-C lets what runs finish
for some seconds and gives back the rest; a second one stops at once.

What fails is tried again after 10, 40, 160 and 640 s, and then set aside: see `plans --failed` and
`retry`. A SIZE is 500MB or 2GiB, a TIME -1h, 2024-01-15 or what else `files` takes.

Exit code: 0 done; 1 with --once, a job failed; 2 wrong usage; 3 nothing to show, or no such table.
"""

_COMPACT = """\
Merge what waits in a table to be merged, level by level, now instead of after the timeouts. Files
that wait alone go on waiting. Merges that other workers hold are left to them and named.

Exit code: 0 done; 1 a merge failed, or others hold some; 2 wrong usage; 3 nothing to merge, or no
such table.
"""

_RETRY = """\
Make plans due now that have failed and are held back or set aside. Without ID, all of the table's
that have failed; `plans --all` shows them with their reasons.
"""


def add(commands: Any) -> None:
    """Add the commands."""
    parser = add_command(commands, "worker", "carry out merges, moves and drops", _WORKER)
    parser.add_argument(
        "tables", metavar="DB[.TABLE]", nargs="*", help="only this database or table"
    )
    parser.add_argument("--once", action="store_true", help="leave when nothing is due any more")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what there is to do and do nothing"
    )
    parser.add_argument(
        "--kinds", metavar="KIND,…", help="merge, move, drop or several of them (default: all)"
    )
    writers = parser.add_mutually_exclusive_group()
    writers.add_argument("--writer-id", metavar="ID", help="only plans for this writer's files")
    writers.add_argument(
        "--all-writers", action="store_true", help="plans for all writers' files (the default)"
    )
    parser.add_argument("--level", metavar="N", type=positive, help="only merges of this level")
    parser.add_argument(
        "--max-input-bytes", metavar="SIZE", help="leave larger merges and moves to others"
    )
    _add_window(parser)
    _add_resources(parser)
    parser.set_defaults(run=_run("worker"))

    parser = add_command(commands, "compact", "merge a table's files now", _COMPACT)
    add_table(parser)
    parser.add_argument(
        "--until-level", metavar="N", type=positive, help="make files of up to this level"
    )
    _add_window(parser)
    _add_resources(parser)
    parser.set_defaults(run=_run("compact"))

    parser = add_command(commands, "retry", "make failed plans due again", _RETRY)
    add_table(parser)
    parser.add_argument("ids", metavar="ID", nargs="*", help="only these plans")
    parser.set_defaults(run=_run("retry"))


def _add_window(parser: Parser) -> None:
    parser.add_argument("--since", metavar="TIME", help="only files with data from this time on")
    parser.add_argument("--until", metavar="TIME", help="only files with data up to this time")


def _add_resources(parser: Parser) -> None:
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        help="where the files are, if no layers are configured (default: the catalog's folder)",
    )
    parser.add_argument(
        "--concurrency", metavar="N", type=positive, default=1, help="jobs at once (default: 1)"
    )
    parser.add_argument(
        "--memory", metavar="SIZE", default="2GB", help="for all jobs together (default: 2GB)"
    )
    parser.add_argument(
        "--temporary", metavar="FOLDER", help="for downloads and what does not fit into memory"
    )
    parser.add_argument("--time-column", metavar="NAME", help="what merged files are sorted by")


def _run(command: str) -> Any:
    def run(args: argparse.Namespace) -> int:
        from gigapi_metadata.cli import worker_run

        code: int = getattr(worker_run, command)(args)
        return code

    return run
