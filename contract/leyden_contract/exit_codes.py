"""Exit codes by which a rank tells its agent, and an agent its pod, why it ended."""

FINISHED = 0
"""Training ended by its own rules."""

BAD_CHECKPOINT = 65
"""The checkpoint itself cannot be served: another one may be (``EX_DATAERR`` of sysexits.h)."""

STOPPED = 75
"""The process stopped because it was asked to, by SIGTERM or its agent, and what there was to save a checkpoint is done
(``EX_TEMPFAIL`` of sysexits.h)."""

MISCONFIGURED = 78
"""The user has to change something first, so a restart cannot help (``EX_CONFIG`` of sysexits.h)."""
