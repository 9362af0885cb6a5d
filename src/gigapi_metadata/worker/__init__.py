"""The worker: carries out the catalog's plans on the files themselves.

`Worker` is the loop. Merges, moves and drops are a module each; `rewrite` turns several Parquet
files into one and knows no catalog. Nothing here remembers anything between two runs: what is to
be done stands in the catalog's queues, and who does it in its leases.
"""

from gigapi_metadata.worker.compact import Held, compact, held_merges, hurry
from gigapi_metadata.worker.finder import Filter, Selector
from gigapi_metadata.worker.loop import Options, Worker
from gigapi_metadata.worker.maintenance import Snapshot, demo_maintenance
from gigapi_metadata.worker.outcome import Outcome
from gigapi_metadata.worker.policy import RetryPolicy

__all__ = [
    "Filter",
    "Held",
    "Options",
    "Outcome",
    "RetryPolicy",
    "Selector",
    "Snapshot",
    "Worker",
    "compact",
    "demo_maintenance",
    "held_merges",
    "hurry",
]
