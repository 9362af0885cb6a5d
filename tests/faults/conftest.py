"""The GigAPI-like writer of the Redis tests and the lake of the worker's are used here too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[1] / name) for name in ("redis", "worker", "concurrency", "contract")]
