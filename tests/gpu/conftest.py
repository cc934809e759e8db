"""Tests of what only a CUDA device can show: collected where ``LEYDEN_TEST_ACCELERATOR=gpu`` asks for them, and failing
there without a device."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("LEYDEN_TEST_ACCELERATOR") == "gpu" else ["test_*.py"]
