"""Which files can't hold a row that a condition asks for, told by their statistics alone.

A condition comes as SQL text, as simple tuples, or as an expression of DuckDB's own parser
(`parse_condition`, `condition_from_duckdb`). It becomes a `Condition`, which answers for an entry:
may any of its rows match? The answer is False only if statistics prove it. Pure but for DuckDB,
which parses SQL and works out constants; tuples do without it.
"""

from gigapi_metadata.pruning.comparisons import Comparison, In, IsNull, Like, between
from gigapi_metadata.pruning.conditions import (
    And,
    Condition,
    Constant,
    IsTrue,
    Not,
    Or,
    Unknown,
)
from gigapi_metadata.pruning.explaining import Decision, Explanation, Folder
from gigapi_metadata.pruning.instants import iso
from gigapi_metadata.pruning.parsing import Where, condition_from_duckdb, parse_condition
from gigapi_metadata.pruning.statistics import is_time_column

__all__ = [
    "And",
    "Comparison",
    "Condition",
    "Constant",
    "Decision",
    "Explanation",
    "Folder",
    "In",
    "IsNull",
    "IsTrue",
    "Like",
    "Not",
    "Or",
    "Unknown",
    "Where",
    "between",
    "condition_from_duckdb",
    "is_time_column",
    "iso",
    "parse_condition",
]
