"""Tests of what only a CUDA device can show: collected where ``LEYDEN_TEST_ACCELERATOR=gpu`` asks for them, and failing
there without a device."""

from __future__ import annotations

from accelerator import ON_GPU

collect_ignore_glob = [] if ON_GPU else ["test_*.py"]
