"""Entries and plans, from one catalog to another, to a file and back.

Whatever is copied is read a day at a time and written in batches. What is there already is left
alone, so doing it twice changes nothing, and what was interrupted goes on where it was.
"""

from gigapi_metadata.copying.catalogs import Wanted, copy_table, tables_of
from gigapi_metadata.copying.comparing import Difference, differences
from gigapi_metadata.copying.files import Format, export, format_of, load, opened
from gigapi_metadata.copying.writer import TableReport, Writer

__all__ = [
    "Difference",
    "Format",
    "TableReport",
    "Wanted",
    "Writer",
    "copy_table",
    "differences",
    "export",
    "format_of",
    "load",
    "opened",
    "tables_of",
]
