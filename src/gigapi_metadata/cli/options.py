"""Options and arguments that commands share, and what their values may be."""

from __future__ import annotations

import argparse
import re
from typing import Any, NamedTuple, NoReturn

from gigapi_metadata.cli.errors import WrongUsage


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ours to print."""

    commands: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        hint = "" if message.startswith("argument -") else f"; see {self.prog} --help"
        raise WrongUsage(message + hint)


class TableName(NamedTuple):
    """Which table a command is about."""

    database: str
    table: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}"


def add_global(parser: Parser, *, within_command: bool) -> None:
    """The options that every command has, before its name and after it.

    After it they leave no default behind, which would undo what was said before.
    """
    suppress = argparse.SUPPRESS if within_command else None
    group = parser.add_argument_group("catalog and output")
    group.add_argument(
        "--catalog",
        metavar="URL",
        default=suppress,
        help="redis://host:6379/0, sqlite:///lake.db or a folder "
        "(or $GIGAPI_METADATA_URL; by default the SQLite catalog of the folder worked on)",
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        default=suppress,
        help="a YAML, TOML or JSON file of settings, with GigAPI's keys or ours",
    )
    group.add_argument(
        "--layers",
        metavar="NAME=URL[,ttl=10m]",
        action="append",
        dest="command_layers" if within_command else "layers",
        default=suppress,
        help="a storage tier, hottest first; repeat it for each one, or give @FILE.json",
    )
    group.add_argument(
        "--merge",
        metavar="TIMEOUT,SIZE",
        action="append",
        dest="command_merge" if within_command else "merge",
        default=suppress,
        help="how files are merged, such as 10s,100MiB; repeat it for iteration 2, 3, …; "
        "none to plan no merges",
    )
    group.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS if within_command else False,
        help="print JSON for programs",
    )
    group.add_argument(
        "--traceback",
        action="store_true",
        default=argparse.SUPPRESS if within_command else False,
        help="show where an error came from (or $GIGAPI_METADATA_TRACEBACK=1)",
    )


def add_command(commands: Any, name: str, summary: str, description: str = "") -> Parser:
    """The parser of a command, with the global options."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_table(parser: Parser) -> None:
    """The argument that names a table."""
    parser.add_argument("table", metavar="DB.TABLE", help="the table; split at the first dot")
    parser.add_argument(
        "--database",
        metavar="DB",
        help="the database, if its name holds a dot; the argument is then the table alone",
    )


def table_name(args: argparse.Namespace) -> TableName:
    """The table that `args` name.

    Raises:
        WrongUsage: there is no dot in DB.TABLE, or one of the names may not be one.
    """
    database, dot, table = args.table.partition(".")
    if args.database is not None:
        database, table = args.database, args.table
    elif not dot:
        raise WrongUsage(
            f"{args.table!r} is no DB.TABLE: write the database and the table with a dot between "
            "them, or --database DB TABLE"
        )
    return checked_table(database, table)


def checked_table(database: str, table: str) -> TableName:
    """The two names if they may be names, else WrongUsage."""
    return TableName(checked_name("database", database), checked_name("table", table))


def checked_name(kind: str, name: str) -> str:
    """`name` if it may name a `kind`, else WrongUsage."""
    from gigapi_metadata.errors import InvalidName
    from gigapi_metadata.names import check_name

    try:
        return check_name(kind, name)
    except InvalidName as fault:
        raise WrongUsage(str(fault)) from fault


def positive(text: str) -> int:
    """An option's whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1")
    return int(text)


def check_options(top: Parser, argv: list[str]) -> None:
    """Refuse an option that no command has: argparse takes its value for the command's name."""
    parsers = [top, *top.commands.choices.values()]
    known = {flag for parser in parsers for flag in parser._option_string_actions}
    current = top  # whose options may stand here
    is_value = False
    for word in argv:
        flag = word.partition("=")[0]
        if word == "--":
            return
        if current is top and not is_value and word in top.commands.choices:
            current = top.commands.choices[word]
        if word.startswith("--") and word.endswith("=--"):
            raise WrongUsage(f"argument {flag}: '--' is no value of it")  # argparse would drop it
        option = top._option_string_actions.get(word)
        is_value = option is not None and option.nargs is None
        if word.startswith("--") and flag not in known:
            from difflib import get_close_matches

            similar = get_close_matches(flag, sorted(current._option_string_actions), 1)
            hint = f"did you mean {similar[0]}?" if similar else f"see {top.prog} --help"
            raise WrongUsage(f"{flag} is no option; {hint}")


def joined(argv: list[str]) -> list[str]:
    """`--after -1h` as `--after=-1h`: argparse would take the value for an option."""
    times = ("--after", "--before", "--since", "--until")
    result: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*result, word, *words]
        if result and result[-1] in times and re.match(r"-[0-9]", word):
            result[-1] += f"={word}"
        else:
            result.append(word)
    return result
