r"""The prompt of `sql`: queries over several lines, history, completion of names.

A query ends with a semicolon. Ctrl-C stops a query that runs, or forgets what was typed; Ctrl-D
leaves.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gigapi_metadata.cli import output, sql_output
from gigapi_metadata.cli.errors import DONE, one_line
from gigapi_metadata.cli.sql_run import interruptible, shown_faults
from gigapi_metadata.errors import MetadataError, QueryFailed

if TYPE_CHECKING:
    from gigapi_metadata.catalog import Catalog
    from gigapi_metadata.cli.sql_output import Writer

_HISTORY_LINES = 2000
_HELP = r"""A query ends with ; and may have several lines.
  \d              the tables
  \d TABLE        the columns of a table
  \explain QUERY  which files a query would read, and why
  \q              leave (or exit, quit, Ctrl-D)
Ctrl-C stops a query that runs. TAB completes names of tables and columns."""
_KEYWORDS = (
    *("select", "from", "where", "group by", "order by", "having", "limit", "distinct", "with"),
    *("join", "left join", "using", "on", "and", "or", "not", "in", "between", "is null", "like"),
    *("union all", "count", "avg", "min", "max", "sum", "desc", "describe", "summarize"),
)
_LEAVING = ("\\q", "exit", "quit")
_COMMANDS = ("\\?", "\\d", "\\explain", "\\q")


class Prompt:
    """Asks for queries, one after the other, and writes what they give."""

    def __init__(self, catalog: Catalog, write: Writer) -> None:
        self._catalog = catalog
        self._write = write
        self._words: list[str] | None = None
        self._matches: list[str] = []

    def run(self) -> int:
        """Until the person leaves."""
        self._prepare()
        output.note(r"SQL over the catalog; \? for help")
        lines: list[str] = []
        while True:
            try:
                line = input("... " if lines else "sql> ")
            except KeyboardInterrupt:
                lines.clear()
                print()
                continue
            except EOFError:
                print()
                return DONE
            if not lines and line.strip().rstrip(";").lower() in _LEAVING:
                return DONE
            if not lines and line.strip().startswith("\\"):
                self._guarded(lambda typed=line: self._command(typed))
                continue
            lines.append(line)
            text = "\n".join(lines)
            if not text.strip():
                lines.clear()
            elif text.rstrip().endswith(";"):
                lines.clear()
                self._guarded(lambda query=text: self._query(query))

    def _guarded(self, work: object) -> None:
        """Nothing that fails ends the prompt."""
        assert callable(work)
        try:
            with shown_faults():
                work()
        except KeyboardInterrupt:
            output.note("stopped")
        except MetadataError as fault:
            output.note(f"{output.PROGRAM}: error: {one_line(str(fault))}")
        except OSError as fault:
            output.note(f"{output.PROGRAM}: error: {fault.strerror or fault}")

    def _query(self, text: str) -> None:
        relation = self._catalog.sql(text)
        interruptible(lambda: self._write(relation), relation)

    def _command(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip().rstrip(";")
        if word == "\\d" and rest:
            sql_output.write_table(self._catalog.sql(f"DESCRIBE {rest}"))
        elif word == "\\d":
            for name in self._tables():
                output.write(name)
        elif word == "\\explain" and rest:
            sql_output.write_plan(self._catalog, self._catalog.sql(rest).plan, False)
        else:
            for each in _HELP.splitlines():
                output.note(each)

    def _tables(self) -> list[str]:
        catalog = self._catalog
        return [
            f"{_shown(database)}.{_shown(table)}"
            for database in catalog.databases()
            for table in catalog.tables(database)
        ]

    # Line editing

    def _prepare(self) -> None:
        try:
            import readline
        except ImportError:
            return  # a Python without it reads lines all the same
        history = history_file()
        with suppress(OSError):
            history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.read_history_file(history)
        readline.set_history_length(_HISTORY_LINES)
        readline.set_completer(self._complete)
        readline.set_completer_delims(" \t\n,;()=<>+-*/'")
        readline.parse_and_bind("tab: complete")
        import atexit

        atexit.register(_keep_history, readline.write_history_file, history)

    def _complete(self, text: str, state: int) -> str | None:
        if state == 0:
            with suppress(MetadataError):
                if self._words is None:
                    self._words = self._known_words()
            words = [*(self._words or ()), *_KEYWORDS, *_COMMANDS]
            wanted = text.lower()
            self._matches = [word for word in words if text and word.lower().startswith(wanted)]
        return self._matches[state] if state < len(self._matches) else None

    def _known_words(self) -> list[str]:
        """Names of tables, with and without their database, and of columns."""
        words: dict[str, None] = {}
        for name in self._tables():
            words[name] = words[name.rpartition(".")[2]] = None
            with suppress(QueryFailed, OSError, MetadataError):
                found = self._catalog.sql(f"SELECT * FROM {name} WHERE false")
                words |= {_shown(column): None for column in found.columns}
        return sorted(words)


def history_file() -> Path:
    """Where the lines that were typed are kept, for this person alone."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, output.PROGRAM, "sql_history")


def _keep_history(write: object, history: Path) -> None:
    assert callable(write)
    with suppress(OSError):
        os.close(os.open(history, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        write(history)


def _shown(name: str) -> str:
    """A name as SQL has it: in quotes if it must be."""
    if name.isidentifier() and name.isascii() and name == name.lower():
        return name
    return '"' + name.replace('"', '""') + '"'
