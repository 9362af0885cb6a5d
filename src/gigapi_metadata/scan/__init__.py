"""Registering a tree of Parquet files that is already there.

walk.py finds the files, reading.py reads their footers in parallel, register.py compares them with
the catalog and adds what is new. For a service that writes files, `Index.batch` is the way.
"""

from gigapi_metadata.scan.register import BadFile, ScanOptions, TableReport, scan_table
from gigapi_metadata.scan.walk import Lake, TableFolder, Tree, strays_below, tables_below

__all__ = [
    "BadFile",
    "Lake",
    "ScanOptions",
    "TableFolder",
    "TableReport",
    "Tree",
    "scan_table",
    "strays_below",
    "tables_below",
]
