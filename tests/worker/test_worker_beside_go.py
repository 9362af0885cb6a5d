"""A process like GigAPI writes, leases and merges on the same Redis, beside our workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import go_worker
import pyarrow as pa
import pyarrow.parquet as pq
from worker_lab import (
    Lab,
    Tables,
    check_whole,
    finish,
    processes,
    readings,
    row_count,
    start_fork_server,
    work,
)

from gigapi_metadata import Layer

FILES = 60


def test_both_write_and_merge(tmp_path: Path, redis_url: str) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    layers = (
        Layer(f"file://{folder}/hot", "hot", "fs", 3600),
        Layer(f"file://{folder}/cold", "cold"),
    )
    lab = Lab(folder, redis=redis_url, layers=layers, merge=((0, 8000, 1),))
    start_fork_server()
    ours, theirs = processes.Pipe()
    go = processes.Process(target=go_worker.run, args=(lab, FILES, theirs))
    go.start()
    theirs.close()
    assert ours.recv() == "ready"
    written = [go_worker.rows_of_file(number) for number in range(FILES)]
    outcomes = []
    with Tables(lab) as catalog:
        while not ours.poll():
            lab.add(catalog, 2, rows=20)
            written += [readings(0, number, 20) for number in range(2)]
            outcomes += work(lab)
    merges_of_go = ours.recv()
    go.join()
    assert go.exitcode == 0
    ours_meanwhile = sum(outcome.kind == "merge" for outcome in outcomes)
    outcomes += finish(lab)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert (merges_of_go > 0, ours_meanwhile > 0) == (True, True)
    check_whole(lab, all_rows(tmp_path, written))


def all_rows(folder: Path, tables: list[pa.Table]) -> Counter[str]:
    file = folder / "all.parquet"
    pq.write_table(pa.concat_tables(tables), file)
    return row_count([file])
