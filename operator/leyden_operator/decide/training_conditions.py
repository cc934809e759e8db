"""The conditions and the phase of a training job."""

from leyden_contract.wire import RunPhase
from leyden_operator.api.training_status import Phase
from leyden_operator.decide import reasons
from leyden_operator.decide.children import CONFIG_PROBLEMS, IMAGE_PROBLEMS
from leyden_operator.decide.conditions import Finding, truth
from leyden_operator.decide.references import missing_finding
from leyden_operator.decide.verdict import Verdict
from leyden_operator.decide.view import View

PROBLEMS = (
    reasons.UNSCHEDULABLE,
    reasons.IMAGE_PULL_FAILED,
    reasons.QUOTA_EXCEEDED,
    reasons.POD_REFUSED,
)


def accepted(view: View, wanted: set[tuple[str, str]]) -> Finding:
    """Whether everything that the job names is there, and nothing is in its way. ``wanted``: kinds and names."""
    if found := missing_finding("Accepted", view.observed.missing):
        return found
    resume = view.job.spec.checkpoint.resume if view.job.spec.checkpoint else None
    if view.job.spec.scheduling.gang == "kubernetes" and not view.observed.pod_groups:
        message = "scheduling.gang is kubernetes, but this cluster has no PodGroup: auto or none is allowed"
        return truth("Accepted", False, reasons.GANG_UNAVAILABLE, message)
    if resume and resume.training_job and not view.checkpoints.latest and not view.origin:
        message = f"training job {resume.training_job} has no checkpoint {resume.select or 'best'} to start from"
        return truth("Accepted", False, reasons.RESUME_SOURCE_NOT_FOUND, message)
    taken = sorted(wanted & view.foreign)
    if taken:
        kind, name = taken[0]
        message = f"{kind} {name} belongs to something else; goes on by itself when it is gone"
        return truth("Accepted", False, reasons.NAME_CONFLICT, message)
    for refusal in view.observed.refusals:
        if refusal.reason == reasons.NAME_CONFLICT:
            return truth("Accepted", False, reasons.NAME_CONFLICT, refusal.message)
    return truth("Accepted", True, reasons.VALID, "everything that the job names is there")


def scheduled(view: View) -> Finding:
    """Whether enough workers have a node, else the plainest reason why not."""
    live, nodes = view.workers.live, view.job.spec.nodes
    placed = [pod for pod in live if pod.node and not pod.waiting((*IMAGE_PROBLEMS, *CONFIG_PROBLEMS))]
    if len(placed) >= nodes.min:
        return truth("Scheduled", True, reasons.PODS_SCHEDULED, f"{len(placed)} of {nodes.max} pods have a node")
    for refusal in view.observed.refusals:
        if refusal.reason in PROBLEMS:
            return truth("Scheduled", False, refusal.reason, refusal.message)
    for pod in live:
        if problem := pod.waiting(IMAGE_PROBLEMS):
            return truth("Scheduled", False, reasons.IMAGE_PULL_FAILED, f"pod {pod.name}: {problem}")
        if problem := pod.waiting(CONFIG_PROBLEMS):
            return truth("Scheduled", False, reasons.POD_REFUSED, f"pod {pod.name}: {problem}")
        if pod.unschedulable:
            return truth("Scheduled", False, reasons.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}")
    return truth("Scheduled", False, reasons.CREATING_PODS, f"{len(placed)} of at least {nodes.min} pods have a node")


def running(view: View) -> Finding:
    report = view.report
    if report and report.phase is RunPhase.TRAINING:
        return truth("Running", True, reasons.TRAINING, f"round {report.round} trains on {report.nodes} nodes")
    if view.attempt or (report and report.round) or view.job.status.progress:
        return truth("Running", False, reasons.RESTARTING, "the next round forms")
    if report:
        return truth("Running", False, reasons.FORMING, "the first round forms")
    return truth("Running", False, reasons.NOT_STARTED, "the pods are not ready")


def in_progress(view: View, wanted: set[tuple[str, str]]) -> list[Finding]:
    """Conditions of a job that runs or is to run."""
    return [
        accepted(view, wanted),
        scheduled(view),
        running(view),
        truth("Suspended", False, reasons.NOT_SUSPENDED),
        truth("Succeeded", False, reasons.NOT_FINISHED),
        truth("Failed", False, reasons.NOT_FAILED),
    ]


def suspended(done: bool) -> list[Finding]:
    """Conditions of a job that is or is being suspended."""
    message = "all pods were given back" if done else "ranks commit a checkpoint and stop"
    reason = reasons.SUSPENDED if done else reasons.SUSPENDING
    return [
        truth("Accepted", True, reasons.VALID, "everything that the job names was there"),
        truth("Scheduled", False, reasons.SUSPENDED),
        truth("Running", False, reasons.SUSPENDED),
        truth("Suspended", done, reason, message),
        truth("Succeeded", False, reasons.NOT_FINISHED),
        truth("Failed", False, reasons.NOT_FAILED),
    ]


def over(verdict: Verdict) -> list[Finding]:
    """Conditions of a job that has ended."""
    well = verdict.outcome == "succeeded"
    ending = truth("Succeeded", well, verdict.reason if well else reasons.NOT_FINISHED, verdict.message if well else "")
    failing = truth("Failed", not well, reasons.NOT_FAILED if well else verdict.reason, "" if well else verdict.message)
    return [
        truth("Accepted", True, reasons.VALID),
        truth("Scheduled", False, reasons.FINISHED),
        truth("Running", False, reasons.FINISHED),
        truth("Suspended", False, reasons.NOT_SUSPENDED),
        ending,
        failing,
    ]


def phase(findings: list[Finding]) -> Phase:
    """One word for people."""
    by = {finding.type: finding for finding in findings}
    for type, word in (("Succeeded", "Succeeded"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if by[type].status == "True":
            return word  # type: ignore[return-value]  # a tuple of literals is inferred as str
    if by["Running"].status == "True":
        return "Running"
    if by["Accepted"].status != "True" or by["Scheduled"].status != "True":
        return "Pending"
    return "Restarting" if by["Running"].reason == reasons.RESTARTING else "Starting"
