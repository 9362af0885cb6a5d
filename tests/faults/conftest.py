"""Helpers of other folders are used here: the GigAPI-like writer, the lake, the load, the model."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / name) for name in ("redis", "worker", "concurrency", "contract")]
