"""The storage tests' S3 server and the Redis tests' GigAPI are ours too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[1] / name) for name in ("storage", "redis")]
