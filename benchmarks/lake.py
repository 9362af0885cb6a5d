"""The catalog that is measured: a file every 15 seconds, 240 an hour, in a folder for each hour."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from gigapi_metadata import IndexEntry

START_NS = 1_705_276_800_000_000_000  # 2024-01-15
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
FILES_AN_HOUR = 240


def entries(
    count: int, *, every_s: float = 15, seed: int = 5, folder: str = ""
) -> Iterator[IndexEntry]:
    """`count` entries in the order of their times, the same ones for the same `seed`.

    folder: a strftime pattern; without one, an hour's (GigAPI's own).
    """
    dice = random.Random(seed)
    length = int(every_s * SECOND_NS)
    for number in range(count):
        start = START_NS + number * length
        at = datetime.fromtimestamp(start // SECOND_NS, UTC)
        place = at.strftime(folder or "date=%Y-%m-%d/hour=%H")
        name = uuid.UUID(int=dice.getrandbits(128), version=4)
        yield IndexEntry(
            database="bench",
            table="t",
            path=f"{place}/{name}.1.parquet",
            size_bytes=dice.randrange(1_000_000, 2_000_000),
            row_count=dice.randrange(10_000, 20_000),
            min_time=start,
            max_time=start + length - 1,
            chunk_time=start + length,
            min_data={"host": "host-01", "temp": round(dice.uniform(-10, 10), 2)},
            max_data={"host": "host-99", "temp": round(dice.uniform(20, 30), 2)},
        )
