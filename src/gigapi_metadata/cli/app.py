"""The parser of the whole command line, and how a command's end becomes a message and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from gigapi_metadata.cli.errors import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOTHING_FOUND,
    WRONG_USAGE,
    Failed,
    NothingFound,
    WrongUsage,
    one_line,
)
from gigapi_metadata.cli.options import Parser, add_global, check_options, joined
from gigapi_metadata.cli.output import PROGRAM, note

if TYPE_CHECKING:
    import argparse
    from types import FrameType

TRACEBACK_VARIABLE = "GIGAPI_METADATA_TRACEBACK"

_DESCRIPTION = """\
The catalog of a time-series data lake: which Parquet files there are, what time they cover, what is
to be merged, moved and deleted.
"""

# Which module has which command, in the order of --help. Most commands end in less time than it
# takes to load all modules.
_MODULES = {
    "scan": "scan",
    "files": "files",
    "sql": "sql",
    "databases": "listing",
    "tables": "listing",
    "paths": "listing",
    "show": "entries",
    "rm": "entries",
    "plans": "plans",
    "worker": "worker",
    "compact": "worker",
    "retry": "worker",
    "copy": "copy",
    "export": "copy",
    "import": "copy",
    "check": "check",
    "rebuild": "rebuild",
    "reindex": "reindex",
    "doctor": "doctor",
    "config": "config",
    "demo": "demo",
}


def parser(words: Container[str] = _MODULES) -> Parser:
    """The parser of the commands that stand among `words`; of all, without."""
    import argparse

    top = Parser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog="exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing found",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and leave")
    add_global(top, within_command=False)
    top.commands = commands = top.add_subparsers(metavar="COMMAND", dest="command")
    for module in dict.fromkeys(_MODULES[command] for command in _MODULES if command in words):
        import_module(f"{__package__}.{module}").add(commands)
    for command in commands.choices.values():
        add_global(command, within_command=True)
    return top


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    shows_traceback = "--traceback" in words or os.environ.get(TRACEBACK_VARIABLE, "0") not in (
        "",
        "0",
    )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A file's name may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _command(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _give_up_stdout()
        return DONE  # whoever reads our output has enough of it
    except KeyboardInterrupt:
        note(f"{PROGRAM}: interrupted")
        return INTERRUPTED
    except NothingFound as end:
        return _end(NOTHING_FOUND, f"nothing found: {end}")
    except WrongUsage as fault:
        return _end(WRONG_USAGE, f"error: {fault}")
    except Exception as fault:
        if shows_traceback:
            import traceback

            traceback.print_exc()
        return _end(FAILED, f"error: {_explained(fault, shows_traceback)}")


class _Ended(BaseException):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what it has made for itself goes. The
    second one ends it at once. Those that are ignored (nohup) stay so."""
    import signal
    import threading

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) is signal.SIG_DFL
    ]

    def default() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    def end(number: int, frame: FrameType | None) -> None:
        default()
        raise _Ended(number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        default()


def _command(words: list[str]) -> int:
    try:
        args = _parsed(words)
    except SystemExit as end:  # after --help
        return end.code if isinstance(end.code, int) else FAILED
    if args.version:
        from importlib.metadata import version

        print(PROGRAM, version(PROGRAM))
        return DONE
    if args.command is None:
        raise WrongUsage(f"name a command; see {PROGRAM} --help")
    try:
        with _ending_in_order():
            code: int = args.run(args)
            return code
    except _Ended as end:
        return 128 + end.number


def _parsed(words: list[str]) -> argparse.Namespace:
    """The arguments. What the parser of one command refuses, or explains, is left to that of all,
    which knows what else may be meant."""
    if not {"-h", "--help"}.intersection(words):
        with suppress(WrongUsage):
            return _parsed_by(parser(words), words)
    return _parsed_by(parser(), words)


def _parsed_by(top: Parser, words: list[str]) -> argparse.Namespace:
    check_options(top, words)
    return top.parse_args(joined(words))


def _explained(fault: Exception, shows_traceback: bool) -> str:
    """What an exception means to the person who ran the command."""
    from gigapi_metadata.errors import MetadataError

    if isinstance(fault, MetadataError | Failed):
        return str(fault)
    if isinstance(fault, OSError) and fault.strerror:
        if fault.filename is None:
            _give_up_stdout()
            return f"the output can't be written: {fault.strerror}"
        return f"{os.fsdecode(fault.filename)}: {fault.strerror}"
    hint = "" if shows_traceback else "; --traceback shows where"
    return f"unexpected {type(fault).__name__}: {fault}{hint}"


def _end(code: int, message: str) -> int:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        note(f"{PROGRAM}: {one_line(message)}")
    except OSError:
        _give_up_stdout()
    return code


def _give_up_stdout() -> None:
    """Let nothing more be written there, also not while Python shuts down."""
    with suppress(OSError, ValueError, AttributeError):  # a stand-in that has no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
