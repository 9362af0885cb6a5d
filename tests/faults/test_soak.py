"""Every kind of fault, at random, under a mixed load, for as long as one likes.

    make soak MINUTES=60 ARGS="-k any_faults_for_long"

Rounds of some seconds: processes write, query, hold plans, carry them out on real files, and are
killed and stopped; the server and the line to it fail. Then all is healed and judged: what was
acknowledged is there, what was refused is not, nothing is half there or twice, the catalog finds
nothing wrong with itself, and when the plans are carried out no file is left over.

Moments are the machine's, so a seed repeats what happens, not when.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fault_checks import check_invariants
from fault_line import FaultLine, fault_line
from fault_servers import server_of
from fix_redis import RedisServer, redis_params
from soak_faults import ClockJumps, LineFaults, ProcessFaults, ServerFaults, faults, settled
from soak_judge import History, judge
from soak_load import SoakLab, origins_of, origins_of_rows, run
from test_killed_server import ALWAYS
from worker_lab import Tables, finish, processes, start_fork_server

from gigapi_metadata import IndexEntry, Layer

MINUTES = "SOAK_MINUTES"
"""Names how long the soak takes, all stores together."""

ROUND_S, SHORT_S = 8.0, 2.5
ROUNDS_A_TABLE = 4  # then the plans are carried out, and new tables begun
PATIENCE_S = 120.0
TTL_S = 3600  # which has passed for every file

Roles = tuple[str, ...]
ENTRIES: Roles = (
    *(f"writer:{mode}" for mode in ("batch", "submit", "async", "async-submit")),
    *("holder", "holder", "foreign"),
)
FILES: Roles = ("writer:batch", "writer:async-submit", "worker", "worker", "worker:compact")
FEW_ENTRIES: Roles = ("writer:submit", "writer:async", "holder", "foreign")
FEW_FILES: Roles = ("writer:batch", "worker")


class Soak:
    """A catalog in `folder`, or in `server`, to which everybody but the foreign writer gets by way
    of `line`."""

    def __init__(
        self, kind: str, folder: Path, seed: int, server: RedisServer | None, line: FaultLine | None
    ) -> None:
        self._kind, self._folder, self._seed = kind, folder, seed
        self._server, self._line = server, line
        self._clock = None if server else ClockJumps(folder / "jumps")
        self._number = self._tables = 0
        self._running: list[Any] = []
        self.faults: Counter[str] = Counter()
        self.history: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        start_fork_server()

    def table(self, rounds: int, seconds: float, entries: Roles, files: Roles) -> None:
        """So many rounds on two new tables, one of entries only; then all plans are carried out."""
        self._tables += 1
        labs = self._labs()
        histories = [History(), History()]
        for _ in range(rounds):
            self._round(labs, (entries, files), seconds)
            for lab, history in zip(labs, histories, strict=True):
                history.read(self._journals, lab.table_name)
                self._judge(lab, history)
        finish(labs[1])
        self._judge(labs[1], histories[1], last=True)
        for history in histories:
            self.history += history.counts
            self.told += history.told
        for journals in self._folder.glob("round-*"):
            shutil.rmtree(journals)

    def report(self) -> str:
        """What has happened so far."""
        lists = ("faults", self.faults), ("load", self.history), ("told", self.told)
        return f"seed {self._seed}, {self._number} rounds\n" + "\n".join(
            f"  {name}: {', '.join(f'{what} {n}' for what, n in sorted(counts.items()))}"
            for name, counts in lists
        )

    @property
    def _note(self) -> str:
        return f"seed {self._seed}, round {self._number}, {self._folder}"

    @property
    def _journals(self) -> Path:
        return self._folder / f"round-{self._number}"

    def _labs(self) -> tuple[SoakLab, SoakLab]:
        # The first layer is where a catalog of folders is.
        layers = (
            Layer(f"file://{self._folder}/lake", "hot", "fs", TTL_S),
            Layer(f"file://{self._folder}/cold", "cold"),
        )
        places: dict[str, Any] = {"json": self._kind == "json"}
        if self._server is not None and self._line is not None:
            places["redis"] = self._server.url()
            places["line"] = f"redis://127.0.0.1:{self._line.port}/0"
        if self._clock is not None:
            places["jumps"] = self._folder / "jumps"
        merge, merge_files = ((0, 2000, 1), (0, 20_000, 2)), ((0, 9000, 1), (0, 40_000, 2))
        names = [f"{what}{self._tables}" for what in ("entries", "files")]
        # Drops of entries are held back for a while, as in life; files should get deleted.
        return (
            SoakLab(self._folder, merge=merge, table_name=names[0], real=False, **places),
            SoakLab(
                self._folder,
                merge=merge_files,
                table_name=names[1],
                layers=layers,
                drop_grace_s=2,
                lease_s=2,
                **places,
            ),
        )

    # The load

    def _round(self, labs: tuple[SoakLab, SoakLab], roles: tuple[Roles, Roles], s: float) -> None:
        self._number += 1
        self._journals.mkdir()
        self._running = []
        wanted = [(lab, role) for lab, each in zip(labs, roles, strict=True) for role in each]
        if self._server is None:
            wanted = [(lab, role) for lab, role in wanted if role != "foreign"]
        for lab, role in wanted:
            self._start(lab, role)
        kinds: list[Any] = [ProcessFaults(lambda: self._running, self._replace)]
        if self._server is not None and self._line is not None:
            kinds += [ServerFaults(self._server), LineFaults(self._line)]
        if self._clock is not None:
            kinds.append(self._clock)
        with faults(f"{self._seed}/{self._number}", *kinds) as counts:
            self._wait(s, lambda: False)
            (self._journals / "stop").touch()
            self._wait(s, self._all_ended)
        self._end()
        del counts["none"]
        self.faults += counts

    def _all_ended(self) -> bool:
        """Does not ask the processes: a thread of the faults does, and each can be asked by one."""
        ends = [process.sentinel for process in self._running]
        return len(wait(ends, 0)) == len(ends)

    def _wait(self, most_s: float, over: Callable[[], bool]) -> None:
        """Until something is found wrong at the latest."""
        until = time.monotonic() + most_s
        while time.monotonic() < until and not over() and not list(self._journals.glob("*.error")):
            time.sleep(0.05)

    def _start(self, lab: SoakLab, role: str) -> None:
        name = f"r{self._number}p{len(self._running)}"
        args = (lab, role, name, self._journals, f"{self._seed}")
        process = processes.Process(target=run, args=args, name=name, daemon=True)
        process.job = (lab, role)  # type: ignore[attr-defined]
        process.start()
        self._running.append(process)

    def _replace(self, process: Any) -> None:
        self._start(*process.job)

    def _end(self) -> None:
        """All processes must end by themselves, and none may have found something wrong."""
        deadline = time.monotonic() + PATIENCE_S
        for process in self._running:
            process.join(max(deadline - time.monotonic(), 0))
        late = [process for process in self._running if process.is_alive()]
        for process in late:
            process.kill()
            process.join()
        errors = [file.read_text() for file in sorted(self._journals.glob("*.error"))]
        assert not errors, f"{self._note}:\n" + "\n".join(errors)
        hung = [process.job for process in late]
        assert not hung, f"{self._note}: these did not end: {hung}"
        odd = [
            (process.exitcode, *process.job)
            for process in self._running
            if process.exitcode not in (0, -9)
        ]
        assert not odd, f"{self._note}: these ended otherwise: {odd}"
        if self._server is not None and self._line is not None:
            settled(self._server, self._line)
        if self._clock is not None:
            self._clock.calm()

    # The judgement

    def _judge(self, lab: SoakLab, history: History, *, last: bool = False) -> None:
        note = f"{self._note}, {lab.table_name}"
        with Tables(lab) as catalog:
            index = catalog.index()
            entries = index.get_all()
            origins = origins_in(lab, entries)
            wrong = judge(history, entries, origins)
            assert not wrong, f"{note}: {len(wrong)} faults: {wrong[:10]}"
            if last:
                assert not index.plans(), note
                forget_unfinished(lab, history, origins, entries)
            # It mends what was lost of the time index, which `check` would name otherwise.
            assert index.query(after=0) == entries, note
            storages = lab.storages() if last else None
            check_invariants(index, note, storages=storages)
        if last:
            left = on_disk(lab) - set(lab.files(entries))
            assert not left, f"{note}: left over: {sorted(left)[:10]}"


def origins_in(lab: SoakLab, entries: list[IndexEntry]) -> Counter[str]:
    if not lab.real:
        return origins_of(entries)
    names = [str(file) for file in lab.files(entries)]
    if not names:
        return Counter()
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        sql = 'SELECT "of", n FROM read_parquet($1, hive_partitioning = false)'
        return origins_of_rows(connection.execute(sql, [names]).fetchall())


def on_disk(lab: SoakLab) -> set[Path]:
    """Every file of the table, finished or not, in any layer; and what workers have spilled."""
    found = {path for path in lab.temporary.rglob("*") if path.is_file()}
    for layer in lab.layers:
        for path in lab.data_folder(layer.name).rglob("*"):
            if path.suffix == ".parquet" or path.match(".gigapi-*.tmp"):
                found.add(path)
    return found


def forget_unfinished(
    lab: SoakLab, history: History, origins: Counter[str], entries: list[IndexEntry]
) -> None:
    """Remove what killed writers had written and did not register: nobody else does."""
    registered = {entry.path for entry in entries}
    for call in history.calls:
        add = call.about.get("add", {})
        if call.answer == "ok" or any(origins[origin] for origin in add):
            registered.update(add.values())
    for file in lab.data_folder(lab.layer).rglob("*.1.parquet"):
        if file.relative_to(lab.data_folder(lab.layer)).as_posix() not in registered:
            file.unlink()


STORES = [
    *(pytest.param(("redis", kind.values[0]), id=kind.id) for kind in redis_params(private=True)),
    pytest.param(("sqlite", None), id="sqlite"),
    pytest.param(("json", None), id="json"),
]


@pytest.fixture(params=STORES)
def soak(request: pytest.FixtureRequest, tmp_path: Path, seed: int) -> Iterator[Soak]:
    kind, source = request.param
    with ExitStack() as stack:
        server = line = None
        if kind == "redis":
            # Since 7.0 DEBUG must be allowed.
            old = source is None or int(source.version.partition(".")[0]) < 7
            debug = () if old else ("--enable-debug-command", "yes")
            server = stack.enter_context(server_of(source, *ALWAYS, *debug))
            line = stack.enter_context(fault_line(server.port))
        yield Soak(kind, tmp_path, seed, server, line)


@pytest.mark.one_server
def test_any_faults(soak: Soak) -> None:
    while not (soak.faults and soak.history["batch ok"]):  # nearly always the first time
        soak.table(1, SHORT_S, FEW_ENTRIES, FEW_FILES)


@pytest.mark.soak
def test_any_faults_for_long(
    soak: Soak, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = [each for each in request.session.items if each.function is request.function]  # type: ignore[attr-defined]
    minutes = float(os.environ.get(MINUTES) or 10) / len(alike)
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        soak.table(ROUNDS_A_TABLE, ROUND_S, ENTRIES, FILES)
        with capsys.disabled():
            print(f"\n{request.node.name}, {soak.report()}", flush=True)
