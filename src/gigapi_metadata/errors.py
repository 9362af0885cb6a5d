"""Every error this package raises on purpose.

    MetadataError
     ├── InvalidEntry          an entry holds a value the catalog can't keep
     ├── InvalidName           a database, table, layer, writer or path that may not be one
     ├── InvalidConfiguration  a URL, layer list, merge configuration or option that can't be used
     ├── InvalidCondition      a condition on rows that is not one
     ├── UnknownLayer          a layer that the table's configuration does not list
     ├── LeaseLost             the plan is no longer held under this lease
     ├── Conflict              the catalog changed under the caller: a plan's source is gone
     ├── MissingExtra          an optional dependency is not installed; holds the pip command
     ├── StorageError          a data file could not be read, written or deleted
     │    ├── FileMissing      it is not there
     │    └── FileExists       it is there, and was not to be replaced
     ├── QueryFailed           a SQL query that can't be run; the message marks the place in it
     ├── MergeFailed           files could not be merged; they are as they were
     │    └── SchemaConflict   and never will be: their columns don't go together
     └── StoreError            the store itself failed
          ├── Unavailable      it could not be reached, or is busy; try again
          ├── OutcomeUnknown   the answer to a write was lost; repeating the same call is safe
          └── CorruptState     what it holds can't be read; the message names the place

After any of them but OutcomeUnknown, nothing was written.

Errors of libraries underneath are mapped to these where a store is entered and stay reachable as
`__cause__`. No message shows a password.
"""

__all__ = [
    "Conflict",
    "CorruptState",
    "FileExists",
    "FileMissing",
    "InvalidCondition",
    "InvalidConfiguration",
    "InvalidEntry",
    "InvalidName",
    "LeaseLost",
    "MergeFailed",
    "MetadataError",
    "MissingExtra",
    "OutcomeUnknown",
    "QueryFailed",
    "SchemaConflict",
    "StorageError",
    "StoreError",
    "Unavailable",
    "UnknownLayer",
]


class MetadataError(Exception):
    """The root: catch this to catch everything below."""


class InvalidEntry(MetadataError, ValueError):
    """A value that can't be kept. The message names the entry's path, the field and the rule."""


class InvalidName(MetadataError, ValueError):
    """A name or path that would not stay inside its key, statement or folder."""


class InvalidConfiguration(MetadataError, ValueError):
    """A setting that can't be used. The message names it and what it may be; it hides passwords."""


class InvalidCondition(MetadataError, ValueError):
    """SQL or tuples that are no condition. The message quotes it and shows where it fails."""


class UnknownLayer(MetadataError, ValueError):
    """A layer that is not among the table's layers. The message lists those that are."""


class LeaseLost(MetadataError):
    """The plan is someone else's by now, or has ended. Throw the work away."""


class Conflict(MetadataError):
    """What the plan was made for is no longer so. Throw the work away and ask for a new plan."""


class MissingExtra(MetadataError, ImportError):
    """A feature needs a package that is not installed."""


class StorageError(MetadataError):
    """A data file could not be read, written or deleted. The message names the file and layer."""


class FileMissing(StorageError):
    """The data file is not there."""


class FileExists(StorageError):
    """The data file is there already, and was not to be replaced."""


class QueryFailed(MetadataError):
    """A SQL query that is none, that names what it may not, or that DuckDB could not run. Nothing
    is ever changed by one."""


class MergeFailed(MetadataError):
    """Files could not be merged into one, or the result was not what it must be. Nothing of it is
    in the catalog and the files are as they were."""


class SchemaConflict(MergeFailed):
    """The files have columns that no type can hold together. The message names column and types."""


class StoreError(MetadataError):
    """The store failed."""


class Unavailable(StoreError):
    """The store could not be reached or is busy. Nothing was written."""


class OutcomeUnknown(StoreError):
    """A write's answer was lost: it may have happened. Repeating the same call is safe, for two
    hours and by the same connection object; docs/guarantees.md says more."""


class CorruptState(StoreError):
    """The store holds something that can't be understood."""
