"""What a spec names, which of it is missing, and which checkpoint a selection means."""

from collections.abc import Collection, Iterable, Sequence

from leyden_contract.manifest import EXPORT_ORDER, ExportFormat, ModelFormat, ServedFormat
from leyden_operator.api import InferenceService, Json, TrainingJob
from leyden_operator.api.training_status import CheckpointsStatus, CheckpointStatus
from leyden_operator.decide import reasons
from leyden_operator.decide.conditions import Finding, truth
from leyden_operator.decide.plan import Reference
from leyden_operator.desired.training import Origin

REASONS = {
    "ConfigMap": reasons.CONFIG_MAP_NOT_FOUND,
    "PersistentVolumeClaim": reasons.PERSISTENT_VOLUME_CLAIM_NOT_FOUND,
}


def references(resource: TrainingJob | InferenceService) -> list[Reference]:
    """Objects to look up before a decision. Secrets are not among them: the operator never reads one."""
    spec = resource.spec
    found = []
    if spec.source and spec.source.config_map:
        found.append(Reference("ConfigMap", spec.source.config_map.name))
    if isinstance(resource, InferenceService):
        return [*found, *_of_model(resource)]
    assert isinstance(resource, TrainingJob)
    checkpoint = resource.spec.checkpoint
    if checkpoint:
        found.append(Reference("PersistentVolumeClaim", checkpoint.storage.persistent_volume_claim.claim_name))
        if checkpoint.resume.training_job:
            found.append(Reference("TrainingJob", checkpoint.resume.training_job))
    for volume in resource.spec.volumes:
        if volume.config_map:
            found.append(Reference("ConfigMap", volume.config_map.name))
        if volume.persistent_volume_claim:
            found.append(Reference("PersistentVolumeClaim", volume.persistent_volume_claim.claim_name))
    return found


def _of_model(service: InferenceService) -> list[Reference]:
    found = [Reference("TrainingJob", service.spec.model.training_job.name)]
    if target := service.status.target:
        found.append(Reference("PersistentVolumeClaim", target.claim_name))
        if target.source:
            found.append(Reference("ConfigMap", target.source))
    return found


def missing_finding(condition: str, missing: Collection[Reference]) -> Finding | None:
    """The condition for a ConfigMap or PersistentVolumeClaim that is not there; ``None`` where all are."""
    lost = sorted((ref.kind, ref.name) for ref in missing if ref.kind in REASONS)
    if not lost:
        return None
    kind, name = lost[0]
    return truth(condition, False, REASONS[kind], f"{kind} {name} does not exist; goes on by itself when it does")


def select(checkpoints: CheckpointsStatus, which: str | int, rejected: Collection[str] = ()) -> CheckpointStatus | None:
    """The checkpoint that ``which`` (best, latest or a step) means, leaving out rejected digests.

    Where the best or the newest is rejected, the newest of the kept ones that is not takes its place.
    """
    if isinstance(which, int):
        named = (checkpoints.best, checkpoints.latest, *checkpoints.kept)
        choices = [found for found in named if found and found.step == which]
    else:
        first = checkpoints.best if which == "best" else None
        choices = [found for found in (first, checkpoints.latest, *checkpoints.kept) if found]
    return next((found for found in choices if found.digest not in rejected), None)


def served_format(asked: ModelFormat, exports: Sequence[ExportFormat]) -> ServedFormat | None:
    """What servers load of a checkpoint with these exports; ``None`` where it has not what is asked for."""
    if asked == "auto":
        return next((name for name in EXPORT_ORDER if name in exports), "checkpoint")
    return asked if asked == "checkpoint" or asked in exports else None


def origin(job: TrainingJob, other: TrainingJob | None) -> Origin | None:
    """The other job's checkpoint that ``checkpoint.resume`` names; ``None`` where there is none (yet)."""
    asked = job.spec.checkpoint.resume if job.spec.checkpoint else None
    if not asked or not asked.training_job or not other or not other.spec.checkpoint:
        return None
    found = select(other.status.checkpoints, "best" if asked.select is None else asked.select)
    claim = other.spec.checkpoint.storage.persistent_volume_claim
    return Origin(claim.claim_name, claim.path, found.step) if found else None


def served(job: TrainingJob, services: Iterable[Json]) -> tuple[str, ...]:
    """Digests of the checkpoints in a job's directory that services answer from, or begin to."""
    if job.spec.checkpoint is None:
        return ()
    claim = job.spec.checkpoint.storage.persistent_volume_claim
    statuses = [service.get("status", {}) for service in services]
    used = [status[role] for status in statuses for role in ("stable", "target") if role in status]
    here = (each for each in used if (each.get("claimName"), each.get("directory")) == (claim.claim_name, claim.path))
    return tuple(sorted({each["digest"] for each in here}))
