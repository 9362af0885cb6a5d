"""The program as a process: what it loads, pipes, a terminal, and being killed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_lab import Cli, write_lake

from gigapi_metadata import connect
from gigapi_metadata.cli import app

PROGRAM = [sys.executable, "-m", "gigapi_metadata"]


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=60, **options
    )


def count_files(folder: str) -> int:
    with connect(folder) as catalog:
        return len(catalog.table("db", "t").get_all())


def wait_for(condition: Any, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["scan", "--help"],
        ["config", "--help"],
        ["config", "--catalog", "."],
        ["files", "db.t"],
        ["plans", "db.t"],
        ["databases"],
    ],
)
def test_nothing_heavy_is_loaded(lake: list[str], words: list[str]) -> None:
    program = (
        "import sys; from gigapi_metadata.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'redis', 'asyncio', 'pyarrow', 'rich', 'duckdb', 'subprocess', 'tomllib'}; "
        "heavy |= {'yaml', 'json', 'difflib', 'gigapi_metadata.config.files'}; "
        "heavy |= {'sqlite3', 'msgspec'} if '--help' in sys.argv else set(); "
        "print(code, *(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.stderr == "0\n"
    assert done.stdout


def test_a_command_loads_no_other(lake: list[str]) -> None:
    program = (
        "import sys; from gigapi_metadata.cli import main; main(['files', 'db.t', '--paths']); "
        "modules = {'copy', 'demo', 'entries', 'listing', 'plans', 'scan', 'worker'}; "
        "loaded = modules & {name.rpartition('.')[2] for name in sys.modules if '.cli.' in name}; "
        "print(*loaded, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "\n"
    assert done.stdout


def test_every_command_is_known_by_its_module() -> None:
    commands = app.parser().commands.choices
    assert list(commands) == list(app._MODULES)
    for name, command in commands.items():
        assert command.get_default("run").__module__ == f"gigapi_metadata.cli.{app._MODULES[name]}"


def test_exit_codes_and_streams(lake: list[str]) -> None:
    done = run("files", "db.t", "--paths")
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, lake, "")
    done = run("files", "db.x", "--json")
    assert (done.returncode, done.stdout) == (3, "[]\n")
    assert run("files").returncode == 2
    assert run("files", "db.t", "--catalog", "nowhere").returncode == 1


def test_the_console_script(lake: list[str]) -> None:
    script = Path(sys.executable).with_name("gigapi-metadata")
    done = subprocess.run([script, "databases"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "db\n")


@pytest.mark.parametrize("words", ["files db.t", "files db.t --json", "files db.t --paths"])
def test_a_reader_that_has_enough_is_no_error(words: str) -> None:
    with connect(".") as catalog:
        from gigapi_metadata import IndexEntry

        catalog.table("db", "t").batch(
            [IndexEntry("db", "t", f"date=x/{n}.1.parquet", 1, n, n) for n in range(5000)]
        )
    command = f"{sys.executable} -m gigapi_metadata {words} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_a_full_disk_is_an_error(lake: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROGRAM, "files", "db.t"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    expected = "gigapi-metadata: error: the output can't be written: No space left on device\n"
    assert done.stderr == expected


def test_without_streams(lake: list[str]) -> None:
    command = f"{sys.executable} -m gigapi_metadata files db.t >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0
    command = f"{sys.executable} -m gigapi_metadata files db.x >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 3


def test_any_name_can_be_printed_in_any_encoding() -> None:
    write_lake(Path("lake"), 1, "ü", "t")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert run("scan", "lake").returncode == 0
    done = run("databases", "--catalog", "lake", env=environment)
    assert (done.returncode, done.stdout) == (0, "\\xfc\n")


def test_stdin_feeds_rm(lake: list[str]) -> None:
    done = run("rm", "db.t", "-", input="\n".join(lake))
    assert (done.returncode, done.stdout.splitlines()) == (0, lake)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_scan_keeps_its_batches_and_the_next_goes_on(cli: Cli, jobs: str) -> None:
    paths = write_lake(Path("lake"), 700)
    words = ["scan", "lake", "--jobs", jobs]
    scan = subprocess.Popen([*PROGRAM, *words, "--batch-size", "3"], stdout=subprocess.DEVNULL)
    wait_for(lambda: count_files("lake") > 5, scan)
    scan.kill()
    assert scan.wait() == -signal.SIGKILL
    kept = count_files("lake")
    assert 5 < kept < len(paths)
    assert kept % 3 == 0
    summary = cli(*words, "--json").json
    assert (summary["unchanged"], summary["registered"]) == (kept, len(paths) - kept)
    plans = cli("plans", "db.t", "--catalog", "lake", "--json").json
    assert sorted(path for plan in plans for path in plan["paths"]) == sorted(paths)


def test_an_interrupted_scan_says_so_and_leaves_no_process() -> None:
    first = Path("lake/db/t/data", write_lake(Path("lake"), 300)[0])
    for number in range(20_000):  # so that it is far from done when the signal comes
        os.link(first, first.with_name(f"copy{number}.1.parquet"))
    scan = subprocess.Popen(
        [*PROGRAM, "scan", "lake", "--batch-size", "3", "--jobs", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: count_files("lake") > 210, scan)  # by now there are processes
    os.killpg(scan.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = scan.communicate(timeout=30)
    assert (scan.returncode, errors) == (130, "gigapi-metadata: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(scan.pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_clears_up(number: signal.Signals) -> None:
    code = """
import signal, sys
from gigapi_metadata.cli import app, main
from gigapi_metadata.worker.workspace import Workspace

def run(args):
    with Workspace("tmp"):
        print("ready", flush=True)
        signal.pause()

parsed = app._parsed

def parsed_to_run(words):
    args = parsed(words)
    args.run = run
    return args

app._parsed = parsed_to_run
sys.exit(main(["databases"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(list(Path("tmp").iterdir())) == 1
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 128 + number
    assert list(Path("tmp").iterdir()) == []


def test_an_interrupt_while_modules_are_loaded_is_quiet() -> None:
    code = """
import builtins, sys
from gigapi_metadata.cli import main
real = builtins.__import__

def interrupted(name, *rest):
    if name.startswith("gigapi_metadata"):
        raise KeyboardInterrupt
    return real(name, *rest)

builtins.__import__ = interrupted
sys.exit(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "")


def on_a_terminal(*words: str) -> tuple[int, str, str]:
    """A command's exit code, its stdout, and what it wrote to its terminal (stderr)."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # Linux, once the other side is closed
        pass
    os.close(ours)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output, seen.decode()


def test_a_terminal_gets_a_progress_bar() -> None:
    write_lake(Path("lake"), 40)
    code, output, seen = on_a_terminal("scan", "lake", "--json")
    assert code == 0
    assert json.loads(output)["registered"] == 40
    assert "40/40" in seen
    assert run("scan", "lake").stderr == ""
