"""What `sql` does."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gigapi_metadata.cli import output, sql_output
from gigapi_metadata.cli.context import open_catalog, settings
from gigapi_metadata.cli.errors import DONE, FAILED, Failed, WrongUsage, one_line
from gigapi_metadata.errors import QueryFailed

if TYPE_CHECKING:
    from gigapi_metadata.sql import Relation

_PATIENCE_S = 5
_LONGEST = 400  # DuckDB lists every function there is of a name


def run(args: argparse.Namespace) -> int:
    """Run the query, or the prompt."""
    text = _text(args)
    if text is not None and not text.strip():
        raise WrongUsage("the query is empty; see gigapi-metadata sql --help")
    write = sql_output.writer(args)
    with open_catalog(args) as catalog:
        if not catalog.layers and (root := args.root or settings(args).root):
            catalog.root = root
        if text is None:
            from gigapi_metadata.cli.sql_prompt import Prompt

            return Prompt(catalog, write).run()
        with shown_faults() as shown:
            relation = catalog.sql(text)
            if args.explain:
                sql_output.write_plan(catalog, relation.plan, args.json)
            else:
                interruptible(lambda: write(relation), relation)
    return FAILED if shown else DONE


def _text(args: argparse.Namespace) -> str | None:
    """The query; None to ask for queries."""
    if args.query is not None and args.file is not None:
        raise WrongUsage("argument --file: not allowed with argument QUERY")
    if args.file is not None and args.file != "-":
        try:
            with open(args.file, encoding="utf-8") as file:
                return file.read()
        except UnicodeDecodeError as fault:
            raise Failed(f"{args.file} is not text in UTF-8") from fault
    if args.query == "-" or args.file == "-" or (args.query is None and not _is_terminal()):
        return sys.stdin.read() if sys.stdin else ""
    query: str | None = args.query
    return query


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def interruptible(work: Callable[[], object], relation: Relation) -> None:
    """Do `work`, which runs `relation`, so that Ctrl-C ends it: DuckDB looks at no signals.

    Raises:
        KeyboardInterrupt: it was ended so. Else whatever `work` raises.
    """
    faults: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as fault:  # raised again below
            faults.append(fault)

    # A thread that does not stop must not keep the program from leaving.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        relation.interrupt()
        thread.join(_PATIENCE_S)
        raise
    if faults:
        raise faults[0]


@contextmanager
def shown_faults() -> Iterator[list[str]]:
    """What a query fails with is printed: one line, and the place in the query below it. The list
    is empty if all went well."""
    shown: list[str] = []
    try:
        yield shown
    except QueryFailed as fault:
        message, found, place = str(fault).partition("\n\nLINE ")
        line = one_line(message)
        shown.append(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")
        sys.stdout.flush()
        output.note(f"{output.PROGRAM}: error: {shown[0]}")
        if found:
            for part in f"LINE {place}".splitlines():
                output.note(part)
