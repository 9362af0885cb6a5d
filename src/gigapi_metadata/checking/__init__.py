"""Whether a catalog is whole: against itself, and against the files. Mending it; making it anew.

findings.py says what can be found; plans.py and files.py decide, without I/O; looking.py (the
catalog) and layers.py (the files) read and ask them. repair.py mends what they found, after
backup.py has written it down; adopting.py registers files. rebuild.py makes a catalog from the
files alone. Of both, overlaps.py decides which files count.
"""

from gigapi_metadata.checking.backup import Backup, write_backup
from gigapi_metadata.checking.files import DEFAULT_MIN_AGE_S
from gigapi_metadata.checking.findings import KINDS, Expire, Finding
from gigapi_metadata.checking.footers import Footers
from gigapi_metadata.checking.looking import check_table
from gigapi_metadata.checking.options import Checked, CheckOptions
from gigapi_metadata.checking.plans import DEFAULT_MAX_LEASE_S
from gigapi_metadata.checking.rebuild import (
    RebuildReport,
    count_files,
    is_empty,
    rebuild_table,
    tables_in,
)
from gigapi_metadata.checking.repair import Repaired, repair_table

__all__ = [
    "DEFAULT_MAX_LEASE_S",
    "DEFAULT_MIN_AGE_S",
    "KINDS",
    "Backup",
    "CheckOptions",
    "Checked",
    "Expire",
    "Finding",
    "Footers",
    "RebuildReport",
    "Repaired",
    "check_table",
    "count_files",
    "is_empty",
    "rebuild_table",
    "repair_table",
    "tables_in",
    "write_backup",
]
