"""The second half of the quickstart: train the digits example, serve it, ask it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from leyden_quickstart.cluster import NAMESPACE, ROOT, Ground
from leyden_quickstart.console import Console, StepFailed, seconds
from leyden_quickstart.kubernetes import Kubectl, condition, is_true

EXAMPLE = ROOT / "examples" / "digits"
JOB = "digits"
SERVICE = "digits"
TRAINING_SECONDS = 15 * 60.0
SERVING_SECONDS = 5 * 60.0
ENOUGH_ACCURACY = 0.95
SHADES = " .:-=+*#%@"


def apply_job(ground: Ground, console: Console) -> str:
    """The namespace, the code, the storage and the TrainingJob are in the cluster."""
    kubectl = ground.kubectl
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    applied = kubectl.run("apply", "-k", str(EXAMPLE))
    return ", ".join(line for line in applied.strip().splitlines())


def train(ground: Ground, console: Console) -> str:
    """The job succeeds, with live progress on the way, and its accuracy is what the example promises."""
    kubectl = ground.kubectl

    def live(job: dict[str, Any]) -> None:
        console.live(progress_line(job))

    job = _wait(kubectl, "trainingjob", JOB, partial(_trained, kubectl), TRAINING_SECONDS, live)
    best = job["status"]["checkpoints"]["best"]
    accuracy = best["metrics"]["val_acc"]
    if accuracy < ENOUGH_ACCURACY:
        raise StepFailed(
            f"Training ended at val_acc {accuracy:.4f}, below {ENOUGH_ACCURACY}.",
            kubectl.shown("describe", "trainingjob", JOB),
        )
    return f"val_acc {accuracy:.4f} at step {best['step']} ({nodes_of_workers(kubectl)})"


def _trained(kubectl: Kubectl, job: dict[str, Any]) -> bool:
    failed = condition(job, "Failed")
    if failed.get("status") == "True":
        first = job["status"].get("lastFailure", {})
        said = f" First failure: {first.get('reason')}: {first.get('message')}" if first else ""
        raise StepFailed(
            f"The job failed: {failed['reason']}: {failed['message']}{said}",
            kubectl.shown("describe", "trainingjob", JOB),
        )
    return is_true(job, "Succeeded")


def progress_line(job: dict[str, Any]) -> str:
    """``Running  3/3 nodes  42 %  val_acc 0.91``: one line of a TrainingJob's status."""
    status = job.get("status", {})
    progress = status.get("progress", {})
    nodes = status.get("nodes", {})
    metrics = " ".join(f"{name} {value:.4g}" for name, value in sorted(progress.get("metrics", {}).items()))
    parts = [status.get("phase", "Pending"), f"{nodes.get('ready', 0)}/{nodes.get('desired', '?')} nodes"]
    if progress.get("percent") is not None:
        parts.append(f"{progress['percent']:.0f} %")
    if progress.get("remainingSeconds") is not None:
        parts.append(f"{seconds(progress['remainingSeconds'])} left")
    return "  ".join([*parts, metrics])


def nodes_of_workers(kubectl: Kubectl) -> str:
    """``3 pods over 2 nodes``, as the pods that are still there say."""
    selector = f"leyden.dev/training-job={JOB},leyden.dev/role=worker"
    pods = json.loads(kubectl.run("get", "pods", "-l", selector, "-o", "json"))["items"]
    return f"{len(pods)} pods over {len({pod['spec'].get('nodeName') for pod in pods})} nodes"


def serve(ground: Ground, console: Console) -> str:
    """The InferenceService answers."""
    kubectl = ground.kubectl
    kubectl.run("apply", "-f", str(EXAMPLE / "inferenceservice.yaml"))

    def ready(service: dict[str, Any]) -> bool:
        return is_true(service, "Available") and is_true(service, "UpToDate")

    def live(service: dict[str, Any]) -> None:
        console.live(condition(service, "UpToDate").get("message", "waiting for the operator"))

    service = _wait(kubectl, "inferenceservice", SERVICE, ready, SERVING_SECONDS, live)
    stable = service["status"]["stable"]
    return f"{service['status']['url']} serves step {stable['step']}, {stable['format']}"


def predict(ground: Ground, console: Console) -> str:
    """Held-out images are sent to the service one after the other, and the answers shown beside the truth."""
    kubectl = ground.kubectl
    held_out = json.loads((EXAMPLE / "held-out.json").read_text())
    with kubectl.forward(f"service/{SERVICE}", 80) as url:
        answers = [_ask(url, image["image"], kubectl) for image in held_out]
    console.say()
    for image, answer in zip(held_out, answers, strict=True):
        console.say(picture(image, answer))
    right = sum(answer.label == image["truth"] for image, answer in zip(held_out, answers, strict=True))
    if right * 4 < len(held_out) * 3:
        raise StepFailed(f"Only {right} of {len(held_out)} predictions are right.", kubectl.shown("get", "lisvc"))
    return f"{right} of {len(held_out)} right, step {answers[0].step}, {answers[0].digest[:19]}"


@dataclass(frozen=True)
class Answer:
    """What the service said about one image."""

    label: int
    step: int
    digest: str


def _ask(url: str, image: list[list[float]], kubectl: Kubectl) -> Answer:
    body = json.dumps({"inputs": [[image]]}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            said = json.loads(response.read())
    except urllib.error.URLError as error:
        said_more = error.read().decode(errors="replace")[:300] if isinstance(error, urllib.error.HTTPError) else ""
        raise StepFailed(f"POST /predict: {error} {said_more}", kubectl.shown("get", "pods")) from None
    scores = said["outputs"][0]
    return Answer(scores.index(max(scores)), said["step"], said["digest"])


def picture(image: dict[str, Any], answer: Answer) -> str:
    """An 8x8 image as text, with what the model says and what is true beside it."""
    rows = ["".join(SHADES[min(9, int(pixel * 9.99))] * 2 for pixel in row) for row in image["image"]]
    mark = "right" if answer.label == image["truth"] else "WRONG"
    notes = {3: f"predicted {answer.label}", 4: f"truth     {image['truth']}   {mark}"}
    return "\n".join(f"    {row}   {notes.get(number, '')}".rstrip() for number, row in enumerate(rows)) + "\n"


def _wait(
    kubectl: Kubectl,
    kind: str,
    name: str,
    satisfied: Callable[[dict[str, Any]], bool],
    limit: float,
    live: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The object once it satisfies; its last conditions are in the error where it does not in time."""
    deadline = time.monotonic() + limit
    thing: dict[str, Any] = {}
    while True:
        try:
            thing = kubectl.get(kind, name)
        except StepFailed as error:
            # An API server that does not answer for a moment is no reason to give up a training run.
            unreachable = error.reason
        else:
            unreachable = ""
            if thing and satisfied(thing):
                return thing
        if time.monotonic() > deadline:
            raise StepFailed(
                f"{kind} {name} is not there after {seconds(limit)}: {unreachable or _conditions(thing)}",
                kubectl.shown("describe", kind, name),
            )
        live(thing)
        time.sleep(1)


def _conditions(thing: dict[str, Any]) -> str:
    found = thing.get("status", {}).get("conditions", [])
    return "; ".join(f"{c['type']}={c['status']} {c['reason']} {c['message']}" for c in found) or "no conditions"
