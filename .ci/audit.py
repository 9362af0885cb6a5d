"""Ask a vulnerability database about what requirements/lock.txt pins: `make audit`, `make lint`.

Exit code 1 when something is known to be vulnerable. Where no database can be asked, one line says
so and the code is 0: a check of style must not depend on the network.

--daily   ask only if that was not done since yesterday, for this lock file
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "lock.txt"
STAMP = ROOT / ".venv" / ".audited"
DAY_S = 86_400
PATIENCE_S = 120


def main() -> int:
    if "--daily" in sys.argv and _is_recent():
        return 0
    report = _report()
    if STAMP.parent.is_dir():
        STAMP.touch()
    if not isinstance(report, dict):
        print(f"not audited: {report}", file=sys.stderr)
        return 0
    asked = [each for each in report["dependencies"] if "skip_reason" not in each]
    if not asked:
        print("not audited: no vulnerability database could be asked", file=sys.stderr)
        return 0
    found = [each for each in asked if each["vulns"]]
    for each in found:
        for fault in each["vulns"]:
            mended = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {fault['id']}, mended in {mended}")
    print(f"audited {len(asked)} of {len(report['dependencies'])} packages: {len(found)} bad")
    if found:
        STAMP.unlink(missing_ok=True)
    return 1 if found else 0


def _is_recent() -> bool:
    try:
        since = STAMP.stat().st_mtime
    except FileNotFoundError:
        return False
    return since > LOCK.stat().st_mtime and time.time() - since < DAY_S


def _report() -> dict[str, Any] | str:
    """What pip-audit says, or why it says nothing."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--require-hashes", "--disable-pip", "--timeout", "5", "-r", str(LOCK)]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        report: dict[str, Any] = json.loads(run.stdout)
    except subprocess.TimeoutExpired:
        return "the vulnerability database does not answer"
    except ValueError:
        if "No module named" in run.stderr:
            return "pip-audit is not installed"
        return "no vulnerability database could be asked"
    return report


if __name__ == "__main__":
    sys.exit(main())
