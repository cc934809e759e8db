"""Names, labels and owner references of everything that the operator makes."""

from leyden_contract.wire import PORT
from leyden_operator.api import API_VERSION, Json, Metadata

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "leyden"
TRAINING_JOB = "leyden.dev/training-job"
INFERENCE_SERVICE = "leyden.dev/inference-service"
ROLE = "leyden.dev/role"
ATTEMPT = "leyden.dev/attempt"
NODE_INDEX = "leyden.dev/node-index"
STEP = "leyden.dev/step"
DIGEST = "leyden.dev/digest"
"""Annotation of a server pod: digest of the checkpoint that it serves."""

OWNER_LABELS = {"TrainingJob": TRAINING_JOB, "InferenceService": INFERENCE_SERVICE}


def run_name(job: str, attempt: int) -> str:
    """Name of an attempt's headless Service, PodGroup and NetworkPolicy."""
    return f"{job}-{attempt}"


def coordinator_name(job: str, attempt: int) -> str:
    return f"{job}-{attempt}-coordinator"


def worker_name(job: str, attempt: int, index: int, replacement: int = 0) -> str:
    """Name of a worker pod; ``replacement`` counts from 1 where the first pod of this index is spent."""
    suffix = f"-r{replacement}" if replacement else ""
    return f"{job}-{attempt}-worker-{index}{suffix}"


def run_id(uid: str, attempt: int) -> str:
    """What a process must belong to before it may join."""
    return f"{uid}-{attempt}"


def coordinator_url(job: str, namespace: str, attempt: int) -> str:
    """Where the coordinator listens, for agents and for the operator."""
    service = run_name(job, attempt)
    return f"http://{coordinator_name(job, attempt)}.{service}.{namespace}.svc:{PORT}"


def metadata(owner: Metadata, kind: str, name: str, labels: dict[str, str] | None = None) -> Json:
    """Metadata of a child: labels by which it is found again, and the owner with which it goes."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {MANAGED_BY: MANAGER, OWNER_LABELS[kind]: owner.name, **(labels or {})},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
