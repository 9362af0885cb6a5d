"""The demo's Parquet files: what eight sensors told a service on one morning.

The same files, byte for byte, every time: names and readings come from a seed, the times are fixed.
"""

from __future__ import annotations

import math
import os
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

DATABASE, TABLE = "demo", "readings"

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = int(datetime(2026, 1, 15, 8, tzinfo=UTC).timestamp()) * SECOND
END = START + 150 * MINUTE
FLUSH = 15 * SECOND
"""So often the service writes what has come in, one reading a second from each sensor."""

SENSORS = {  # name: (temperature, its swing over the hour)
    "attic": (16.0, 1.5),
    "bakery": (27.0, 4.0),
    "boiler": (61.0, 6.0),
    "cellar": (11.0, 0.2),
    "cold-store": (3.5, 0.8),
    "greenhouse": (22.0, 3.0),
    "roof": (-2.0, 1.0),
    "workshop": (19.0, 1.2),
}


class Outage(NamedTuple):
    """A sensor without a link; once it is back, its readings come in one file of their own."""

    sensor: str
    start: int
    end: int


OUTAGES = (
    Outage("roof", START + 51 * MINUTE, START + 66 * MINUTE),
    Outage("greenhouse", START + 104 * MINUTE, START + 126 * MINUTE),
)


class File(NamedTuple):
    """A file to write: its path, and of which sensor the seconds it holds (None: of all that had a
    link)."""

    path: str
    start: int
    end: int
    sensor: str | None


def planned_files() -> list[File]:
    """Every file of the demo, in the order in which the service writes them."""
    names = random.Random("gigapi-metadata demo")
    spans = [(start, start, start + FLUSH, None) for start in range(START, END, FLUSH)]
    late = [(each.end, each.start, each.end, each.sensor) for each in OUTAGES]
    written = sorted([*spans, *late], key=lambda span: span[0])
    return [
        File(_path(start, uuid.UUID(int=names.getrandbits(128), version=4)), start, end, sensor)
        for _, start, end, sensor in written
    ]


def late_file(outage: Outage) -> File:
    """The file with the readings of `outage`."""
    return next(
        file
        for file in planned_files()
        if (file.sensor, file.start) == (outage.sensor, outage.start)
    )


def _path(start: int, name: uuid.UUID) -> str:
    """As GigAPI places a file: by the day and hour of its first reading."""
    moment = datetime.fromtimestamp(start // SECOND, UTC)
    return f"date={moment:%Y-%m-%d}/hour={moment:%H}/{name}.1.parquet"


def write_files(data: str | os.PathLike[str]) -> Iterator[int]:
    """Write the files below `data`; the number of rows of each as it is done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("__timestamp", pa.timestamp("ns", tz="UTC")),
            ("sensor", pa.string()),
            ("temperature", pa.float64()),
            ("humidity", pa.float64()),
        ]
    )
    for file in planned_files():
        rows = list(_readings(file))
        columns = [list(column) for column in zip(*rows, strict=True)]
        target = os.path.join(data, file.path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        pq.write_table(pa.table(columns, schema=schema), target, compression="zstd")
        yield len(rows)


def _readings(file: File) -> Iterator[tuple[int, str, float, float]]:
    noise = random.Random(file.path)
    for time_ns in range(file.start, file.end, SECOND):
        for sensor, (base, swing) in SENSORS.items():
            if not (file.sensor == sensor or (file.sensor is None and _has_link(sensor, time_ns))):
                continue
            phase = math.sin(2 * math.pi * (time_ns - START) / HOUR)
            temperature = base + swing * phase + noise.gauss(0, 0.1)
            humidity = min(max(55 - 8 * phase + noise.gauss(0, 0.5), 0), 100)
            # No two sensors speak at the same instant.
            instant = time_ns + noise.randrange(SECOND)
            yield instant, sensor, round(temperature, 2), round(humidity, 1)


def _has_link(sensor: str, time_ns: int) -> bool:
    return not any(
        outage.sensor == sensor and outage.start <= time_ns < outage.end for outage in OUTAGES
    )
