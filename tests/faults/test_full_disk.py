"""SQLite and JSON folders on a disk that is full: clear errors, whole batches, and on it goes."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("disk_process.py")
OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]
SIZES = {"sqlite": 1_500_000, "json": 600_000}


@functools.cache
def may_mount() -> bool:
    """Whether a process of ours may have mounts of its own."""
    if shutil.which("unshare") is None:
        return False
    command = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("how", ["mount", "limit"])
@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_full_disk_refuses_batches_whole(tmp_path: Path, kind: str, how: str) -> None:
    if how == "mount" and not may_mount():
        pytest.skip("this system lets nobody mount in a namespace of his own")
    size = SIZES[kind] if how == "mount" else SIZES[kind] // 4
    command = [sys.executable, str(SCRIPT), kind, how, str(tmp_path), str(size)]
    done = subprocess.run(
        OWN_MOUNTS + command if how == "mount" else command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["left"] == []
    assert report["files"] > 0
    wanted = ("full", "No space left", "too large", "disk I/O error")
    assert all(any(word in reason for word in wanted) for reason in report["reasons"]), report
