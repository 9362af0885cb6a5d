"""All measurements, one after the other: a table, JSON, and a plot of cost against size.

    python -m benchmarks.run [--only redis,sqlite,cli,sql,worker] [--sizes 17280,200000,1000000]
                             [--json FILE] [--plot FILE]

Each figure stands beside its floor, taken in turn in the same run. The machine should have nothing
else to do. A figure above what it may be is marked `missed`; the exit code does not say so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.rows import Row, as_table
from benchmarks.servers import private_redis

PARTS = ("redis", "sqlite", "cli", "sql")
SIZES = (17_280, 200_000, 1_000_000)


def measure(part: str, sizes: Sequence[int]) -> list[Row]:
    """The rows of one part."""
    measured: Callable[[Sequence[int]], list[Row]]
    measured = import_module(f"benchmarks.measure_{part}").measure
    return measured(sizes)


def machine() -> str:
    """What the figures were taken on."""
    import redis

    with private_redis() as url, redis.Redis.from_url(url) as client:
        version = client.info("server")["redis_version"]
    return (
        f"Python {platform.python_version()}, Redis {version}, redis-py {redis.__version__}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    )


def plot(rows: Sequence[Row], file: Path) -> None:
    """Milliseconds of the query of an hour against the entries there are."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for store, colour in (("Redis", "tab:red"), ("SQLite", "tab:blue")):
        found = [
            r for r in rows if r["store"] == store and r["work"].startswith("query of 1 h, 240")
        ]
        by_size = {row["size"]: row for row in found}
        sizes = sorted(by_size)
        if not sizes:
            continue
        for field, name, style in (("ours_s", store, "-o"), ("floor_s", f"{store}, floor", ":")):
            times = [by_size[size][field] * 1e3 for size in sizes]  # type: ignore[literal-required]
            axes.plot(sizes, times, style, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("files in the table")
    axes.set_ylabel("ms for the 240 files of an hour")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="which parts")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="entries in the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw cost against size (SVG)")
    options = parser.parse_args()
    parts = options.only.split(",")
    unknown = set(parts) - set(PARTS)
    if unknown:
        sys.exit(f"--only takes {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    taken_on = machine()
    print(taken_on)
    rows: list[Row] = []
    for part in parts:
        found = measure(part, [int(size) for size in options.sizes.split(",")])
        print(as_table(found, heading=not rows), flush=True)
        rows += found
    if options.json:
        options.json.write_text(json.dumps({"machine": taken_on, "rows": rows}, indent=1) + "\n")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
