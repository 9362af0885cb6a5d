"""`check`: a table's catalog against itself and against its files; mending it."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from gigapi_metadata.cli import output
from gigapi_metadata.cli.context import open_catalog
from gigapi_metadata.cli.errors import DONE, FAILED, NothingFound, WrongUsage
from gigapi_metadata.cli.options import TableName, add_command, add_table, positive, table_name
from gigapi_metadata.cli.progress import progress_bar
from gigapi_metadata.cli.scan import cpus
from gigapi_metadata.cli.storages import check_folder, storages_of

if TYPE_CHECKING:
    from gigapi_metadata.checking import Checked, CheckOptions, Finding, Footers
    from gigapi_metadata.index.sync import Index
    from gigapi_metadata.storage import Storages

LISTED = 20
"""So many findings of a kind are listed for people; --json has them all."""

ROUNDS = 3
"""Mending one thing can bring another to light."""

_DESCRIPTION = """\
Check a table: its entries, counts and plans against each other, and against the files of all
layers. Changes nothing, may run beside everybody else. Exit code 1 when something is wrong.

With --repair what can be mended is, after a backup whose name is printed (restore it with import).
Files that no entry names are moved to a quarantine folder, and deleted by a later --repair.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "check", "check a table, and mend it", _DESCRIPTION)
    add_table(parser)
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="register files that no entry names, instead of moving them away",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="mend also where most entries or files of a layer would go",
    )
    parser.add_argument(
        "--deep", action="store_true", help="read every file's footer: rows and times"
    )
    parser.add_argument(
        "--no-storage", action="store_true", help="check the catalog only, not the files"
    )
    parser.add_argument(
        "--min-age",
        metavar="TIME",
        default="1h",
        help="younger files may still be registered: they are left alone (default: 1h)",
    )
    parser.add_argument(
        "--max-lease",
        metavar="TIME",
        default="24h",
        help="a longer lease counts as one without an end (default: 24h)",
    )
    parser.add_argument(
        "--quarantine-age",
        metavar="TIME",
        default="7d",
        help="--repair deletes files that are in quarantine for longer (default: 7d)",
    )
    parser.add_argument(
        "--backup", metavar="FOLDER", default=".", help="where --repair writes its backup"
    )
    parser.add_argument(
        "--root", metavar="FOLDER", help="where the files are, if the catalog has no layers"
    )
    parser.add_argument("--time-column", metavar="NAME", help="as for scan")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="processes that read files (default: the CPUs)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the table."""
    from gigapi_metadata.checking import Footers

    name = table_name(args)
    if args.adopt and not args.repair:
        raise WrongUsage("--adopt goes with --repair")
    if args.repair:
        check_folder("backup", args.backup)
    options = _options(args)
    with open_catalog(args) as catalog:
        index = catalog.table(*name)
        storages = storages_of(args, catalog) if options.storage else _no_storages()
        with Footers(args.jobs or cpus(), args.time_column) as footers:
            work = _Work(args, name, index, storages, footers, options)
            checked = work.check()
            if args.repair and any(each.mend for each in checked.findings):
                checked = work.repair(checked)
    _report(args, work, checked)
    if not (checked.entries or checked.plans or checked.files or checked.findings):
        raise NothingFound(f"there is no {name}: no entry, no plan and no file")
    return FAILED if checked.faults or work.errors else DONE


class _Work:
    """A check and its repairs, and what is to be said about them."""

    def __init__(
        self,
        args: argparse.Namespace,
        name: TableName,
        index: Index[Any],
        storages: Storages,
        footers: Footers,
        options: CheckOptions,
    ) -> None:
        self._args, self._name = args, name
        self._parts = (index, storages, footers)
        self._options = options
        self.mended: list[Finding] = []
        self.errors: list[str] = []
        self.backup: list[str] = []

    def check(self) -> Checked:
        """Look."""
        from gigapi_metadata.checking import check_table

        with progress_bar(lambda: None, "checking", "days") as advance:
            return check_table(*self._parts, self._options, advance)

    def repair(self, checked: Checked) -> Checked:
        """Write the backup, mend, and look again: what is still there."""
        from gigapi_metadata.checking import Expire, repair_table

        for _ in range(ROUNDS):
            mends = [each.mend for each in checked.findings if each.mend]
            if not self.backup and not all(isinstance(mend, Expire) for mend in mends):
                self._write_backup()  # emptying quarantine changes nothing in the catalog
            repaired = repair_table(*self._parts, checked, self._options)
            self.mended += repaired.mended
            self.errors = repaired.errors
            checked = self.check()
            if not repaired.mended or not any(each.mend for each in checked.findings):
                break
        return checked

    def _write_backup(self) -> None:
        from gigapi_metadata.checking import write_backup
        from gigapi_metadata.index.repairs import TableRepairs

        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        folder = self._args.backup
        found = write_backup(TableRepairs(self._parts[0]), folder, f"{moment}-{os.getpid()}")
        self.backup = [each for each in found if each]
        for each in self.backup:
            output.note(f"backup: {each}")


def _options(args: argparse.Namespace) -> CheckOptions:
    from gigapi_metadata.checking import CheckOptions

    return CheckOptions(
        deep=args.deep,
        storage=not args.no_storage,
        min_age_s=_seconds(args.min_age, "--min-age"),
        max_lease_s=_seconds(args.max_lease, "--max-lease"),
        adopt=args.adopt,
        force=args.force,
        quarantine_age_s=_seconds(args.quarantine_age, "--quarantine-age"),
    )


def _seconds(text: str, option: str) -> int:
    """A length of time: a Go duration, or days."""
    from gigapi_metadata.config import parse_duration
    from gigapi_metadata.errors import InvalidConfiguration

    days = text.removesuffix("d")
    if text.endswith("d") and days.isascii() and days.isdecimal() and len(days) < 6:
        return int(days) * 86_400
    try:
        return parse_duration(text)
    except InvalidConfiguration as fault:
        raise WrongUsage(f"argument {option}: {fault}, or days such as 7d") from fault


def _no_storages() -> Storages:
    from gigapi_metadata.storage import Storages

    return Storages(None, None)


def _report(args: argparse.Namespace, work: _Work, checked: Checked) -> None:
    if args.json:
        output.write_json(_object(args, work, checked))
        return
    files = f", {output.count(checked.files, 'file')}" if not args.no_storage else ""
    output.write(
        f"{checked.database}.{checked.table}: {_entries(checked.entries)}, "
        f"{output.count(checked.plans, 'plan')}{files}"
    )
    _write_findings("mended", work.mended)
    _write_findings("found", checked.faults)
    if checked.notes:
        output.write("  notes: left over and harmless, they do not fail a check")
        _write_findings("noted", checked.notes)
    for error in work.errors:
        output.note(f"not mended: {error}")
    if not checked.faults and not work.errors:
        output.write("  nothing is wrong" + (" any more" if work.mended else ""))
    elif not args.repair and any(each.mend for each in checked.findings):
        output.note("--repair mends what can be mended, after a backup")


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"


def _write_findings(label: str, findings: list[Finding]) -> None:
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        kinds.setdefault((each.kind, each.remedy), []).append(each)
    for (kind, remedy), group in sorted(kinds.items()):
        output.write(f"  {label} {len(group):,} {kind}" + (f": {remedy}" if remedy else ""))
        for each in group[:LISTED]:
            where = f"{each.path} " if each.path and each.path not in each.detail else ""
            layer = f"[{each.layer}] " if each.layer else ""
            output.write(f"    {output.printable(f'{layer}{where}{each.detail}')}")
        if len(group) > LISTED:
            output.write(f"    … and {len(group) - LISTED:,} more; --json lists them all")


def _object(args: argparse.Namespace, work: _Work, checked: Checked) -> dict[str, Any]:
    return {
        "database": checked.database,
        "table": checked.table,
        "entries": checked.entries,
        "plans": checked.plans,
        "files": checked.files,
        "faults": len(checked.faults),
        "notes": len(checked.notes),
        "findings": [_finding(each) for each in checked.findings],
        "mended": [_finding(each) for each in work.mended],
        "errors": work.errors,
        "backup": work.backup,
        "repair": args.repair,
    }


def _finding(each: Finding) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "level": each.level,
        "path": output.utf8(each.path),
        "layer": each.layer,
        "place": output.utf8(each.place),
        "detail": output.utf8(each.detail),
        "remedy": each.remedy,
    }
