"""What ``kubectl get`` shows of a training job. No column is ever blank."""

from leyden_operator.api import TrainingJob
from leyden_operator.api.training_status import (
    CheckpointsStatus,
    NodesStatus,
    Phase,
    ProgressStatus,
    TrainingSummary,
)


def summary(
    job: TrainingJob, phase: Phase, nodes: NodesStatus, progress: ProgressStatus | None, checkpoints: CheckpointsStatus
) -> TrainingSummary:
    return TrainingSummary(
        nodes=f"{nodes.ready}/{nodes.desired}",
        progress=_progress(progress, phase),
        eta=_eta(progress, phase),
        metric=_metric(job, progress, checkpoints)[:160],
    )


def _progress(progress: ProgressStatus | None, phase: Phase) -> str:
    if phase == "Succeeded":
        return "100%"
    if progress is None:
        return "0%"
    return f"step {progress.step}" if progress.percent is None else f"{progress.percent:.0f}%"


def _eta(progress: ProgressStatus | None, phase: Phase) -> str:
    if phase == "Succeeded":
        return "done"
    if phase != "Running" or progress is None or progress.remaining_seconds is None:
        return "-"
    return duration(progress.remaining_seconds)


def duration(seconds: float) -> str:
    """Time as kubectl writes it: two units at most."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def _metric(job: TrainingJob, progress: ProgressStatus | None, checkpoints: CheckpointsStatus) -> str:
    """The monitored metric of the best checkpoint, else its newest value, else the first metric by name."""
    monitor = job.spec.checkpoint.monitor if job.spec.checkpoint else None
    newest = progress.metrics if progress else {}
    if monitor is None:
        name = next(iter(sorted(newest)), None)
        return f"{name}={newest[name]:.4g}" if name else "-"
    best = checkpoints.best.metrics if checkpoints.best else {}
    value = best.get(monitor.metric, newest.get(monitor.metric))
    return "-" if value is None else f"{monitor.metric}={value:.4g}"
