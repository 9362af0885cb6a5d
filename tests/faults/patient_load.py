"""tests/concurrency/load.py as a client that repeats a call until it is answered.

python patient_load.py {commit|lease} URL NUMBER SEED {COUNT|SECONDSs}
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "concurrency"))

import load
import msgspec

from gigapi_metadata import LeaseLost, OutcomeUnknown, Unavailable, connect
from gigapi_metadata.catalog import Catalog

PATIENCE_S = 60


class Patient:
    """An index whose calls are made again while the server is away."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._lost = 0

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._index, name)

        def again(*args: Any, **kwargs: Any) -> Any:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    return verb(*args, **kwargs)
                except (OutcomeUnknown, Unavailable):
                    if time.monotonic() > deadline:
                        raise
                except LeaseLost:
                    # Renewed or given back by the call whose answer was lost, or out of time.
                    if name == "renew":
                        self._lost -= 1
                        return msgspec.structs.replace(args[0], lease_s=self._lost)
                    if name == "release":
                        return None
                    raise

        return again


class PatientCatalog:
    def __init__(self, *args: Any, **options: Any) -> None:
        self._catalog: Catalog = connect(*args, **options)

    def table(self, database: str, table: str) -> Patient:
        return Patient(self._catalog.table(database, table))

    def __enter__(self) -> PatientCatalog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._catalog.close()


if __name__ == "__main__":
    load.connect = PatientCatalog  # type: ignore[assignment]
    load.main()
