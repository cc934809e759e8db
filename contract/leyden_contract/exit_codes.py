"""Exit codes by which a rank tells its agent, and an agent its pod, why it ended."""

FINISHED = 0
"""Training ended by its own rules."""

STOPPED = 75
"""A checkpoint is committed and the process stopped because it was asked to (``EX_TEMPFAIL`` of sysexits.h)."""

MISCONFIGURED = 78
"""The user has to change something first, so a restart cannot help (``EX_CONFIG`` of sysexits.h)."""
