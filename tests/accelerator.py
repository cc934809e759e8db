"""Which device the engine's tests and the comparison with Lightning train on."""

from __future__ import annotations

import os

ACCELERATOR = os.environ.get("LEYDEN_TEST_ACCELERATOR", "cpu")
"""``cpu`` or ``gpu``, for a test that does not say."""

ON_GPU = ACCELERATOR == "gpu"
