from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from leyden_contract.manifest import ExportFormat
from leyden_operator.api import InferenceService, Json, TrainingJob
from leyden_operator.api.training_status import CheckpointsStatus, CheckpointStatus
from leyden_operator.decide import Observed, Plan, Reference, decide_inference
from unit.decide.cluster import SETTINGS, START, training_job

CLAIM = {"storage": {"persistentVolumeClaim": {"claimName": "checkpoints", "path": "digits"}}}


def kept(step: int, exports: tuple[ExportFormat, ...] = ()) -> CheckpointStatus:
    return CheckpointStatus(step=step, path=f"step-{step:012d}", digest=f"sha256:{step:064d}", exports=exports)


def trained(*steps: int, best: int | None = None, exports: tuple[ExportFormat, ...] = ()) -> TrainingJob:
    """A job with these checkpoints, newest first; only the newest has exports."""
    found = tuple(kept(step, exports if step == steps[0] else ()) for step in steps)
    chosen = next((item for item in found if item.step == best), kept(best) if best is not None else None)
    status = CheckpointsStatus(latest=found[0] if found else None, best=chosen, kept=found)
    return training_job({"checkpoints": status.to_json()}, checkpoint=CLAIM, source={"configMap": {"name": "code"}})


@dataclass
class World:
    """One service, its children, and the server pods that a Deployment would have."""

    job: TrainingJob | None
    select: Any = "best"
    replicas: int = 1
    format: str = "auto"
    status: Json = field(default_factory=dict)
    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    missing: frozenset[Reference] = frozenset()
    broken: tuple[int, ...] = ()
    generation: int = 1
    plan: Plan | None = None

    def service(self) -> InferenceService:
        return InferenceService.model_validate(
            {
                "metadata": {
                    "name": "digits",
                    "namespace": "ml",
                    "uid": "s",
                    "generation": self.generation,
                    "creationTimestamp": START.isoformat(),
                },
                "spec": {
                    "model": {"trainingJob": {"name": "digits", "select": self.select}, "format": self.format},
                    "replicas": self.replicas,
                },
                "status": self.status,
            }
        )

    def look(self) -> Json:
        """Decide once, carry it out; the status."""
        seen = Observed(tuple(deepcopy(list(self.objects.values()))), self.missing, self.job)
        self.plan = decide_inference(self.service(), seen, SETTINGS, START)
        self.status = self.plan.status
        for gone in self.plan.delete:
            del self.objects[(gone.kind, gone.name)]
        for child in self.plan.apply:
            child = deepcopy(child)
            child["metadata"]["uid"] = child["kind"]
            self.objects[(child["kind"], child["metadata"]["name"])] = child
        return self.status

    def roll(self) -> None:
        """Replace server pods by those of the Deployment; a broken checkpoint's never get ready."""
        deployment = self.objects.get(("Deployment", "digits"))
        if deployment is None:
            return
        template = deployment["spec"]["template"]
        step = int(template["metadata"]["labels"]["leyden.dev/step"])
        works = step not in self.broken
        keep = {} if works else {key: pod for key, pod in self.objects.items() if key[0] == "Pod" and ready(pod)}
        others = {key: child for key, child in self.objects.items() if key[0] != "Pod"}
        self.objects = {**others, **keep}
        wanted = deployment["spec"]["replicas"]
        for number in range(wanted if works else 1):
            name = f"digits-{step}-{number}"
            self.objects[("Pod", name)] = server_pod(name, template, works)
        deployment["status"] = {
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": wanted if works else len(keep),
        }

    def settle(self) -> Json:
        for _ in range(4):
            self.look()
            self.roll()
        return self.look()

    def condition(self, name: str) -> tuple[str, str]:
        found = next(item for item in self.status["conditions"] if item["type"] == name)
        return found["status"], found["reason"]


def ready(pod: Json) -> bool:
    return any(item["type"] == "Ready" for item in pod["status"].get("conditions", ()))


def server_pod(name: str, template: Json, works: bool) -> Json:
    ended = {"exitCode": 65, "message": "sha256 of weights.pt differs", "finishedAt": START.isoformat()}
    status: Json = {"phase": "Running", "containerStatuses": [{"lastState": {"terminated": ended}}]}
    if works:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": name, **deepcopy(template["metadata"])},
        "status": status,
    }


@pytest.mark.parametrize(
    ("job", "select", "step"),
    [
        pytest.param(trained(30, 20, 10, best=20), "best", 20, id="best"),
        pytest.param(trained(30, 20, 10, best=20), "latest", 30, id="latest"),
        pytest.param(trained(30, 20, 10, best=20), 10, 10, id="step"),
        pytest.param(trained(30), "best", 30, id="nothing-monitored-newest-is-best"),
    ],
)
def test_what_is_selected_is_served(job: TrainingJob, select: Any, step: int) -> None:
    world = World(job, select)
    status = world.settle()
    assert (status["stable"]["step"], status["url"]) == (step, "http://digits.ml.svc")
    assert world.condition("Ready") == ("True", "Ready")
    assert status["summary"] == {"ready": "1/1", "model": f"digits step {step}", "traffic": "100%"}
    assert world.plan and not world.plan.apply and not world.plan.events


@pytest.mark.parametrize(
    ("job", "select", "reason"),
    [
        pytest.param(None, "best", "TrainingJobNotFound", id="no-job"),
        pytest.param(trained(), "best", "NoCheckpoint", id="no-checkpoint-yet"),
        pytest.param(trained(30), 7, "StepNotFound", id="no-such-step"),
    ],
)
def test_nothing_to_serve_is_said_and_goes_on_by_itself(job: TrainingJob | None, select: Any, reason: str) -> None:
    world = World(job, select)
    world.look()
    assert world.condition("UpToDate") == ("False", reason)
    assert world.condition("Available") == ("False", "NoReadyPods")
    assert {kind for kind, _ in world.objects} == {"Service"}
    world.job = trained(30, 7, best=30)
    world.settle()
    assert world.condition("Ready") == ("True", "Ready")


@pytest.mark.parametrize(
    ("asked", "exports", "served"),
    [
        pytest.param("auto", (), "checkpoint", id="auto-without-exports"),
        pytest.param("auto", ("torchscript", "onnx"), "onnx", id="auto-the-first-in-order"),
        pytest.param("auto", ("torchscript", "onnx", "exported"), "exported", id="auto-exported-first"),
        pytest.param("torchscript", ("exported", "torchscript"), "torchscript", id="named"),
        pytest.param("checkpoint", ("exported",), "checkpoint", id="code-in-spite-of-exports"),
    ],
)
def test_servers_get_the_format_and_the_code_only_where_it_is_needed(
    asked: str, exports: tuple[ExportFormat, ...], served: str
) -> None:
    world = World(trained(40, exports=exports), format=asked)
    status = world.settle()
    pod = world.objects[("Deployment", "digits")]["spec"]["template"]["spec"]
    env = {item["name"]: item["value"] for item in pod["containers"][0]["env"]}
    assert status["stable"]["format"] == env["LEYDEN_MODEL_FORMAT"] == served
    has_code = any(volume.get("configMap") == {"name": "code"} for volume in pod["volumes"])
    assert has_code == (served == "checkpoint") and world.condition("Ready") == ("True", "Ready")


def test_a_format_that_the_checkpoint_lacks_is_named_and_what_is_served_goes_on() -> None:
    world = World(trained(30, exports=("exported",)), format="exported")
    world.settle()
    world.job = trained(40, 30, best=40)
    status = world.settle()
    assert world.condition("UpToDate") == ("False", "FormatNotFound")
    message = next(item["message"] for item in status["conditions"] if item["type"] == "UpToDate")
    assert message == "step 40 has no exported export; it has: checkpoint; step 30 is served meanwhile"
    assert (status["stable"]["step"], status["stable"]["format"]) == (30, "exported")
    assert world.condition("Available") == ("True", "Serving") and world.plan and not world.plan.apply
    world.job = trained(50, 40, best=50, exports=("exported",))
    assert world.settle()["stable"]["step"] == 50


def test_another_format_of_the_same_checkpoint_rolls_out() -> None:
    world = World(trained(40, exports=("exported",)), format="checkpoint")
    world.settle()
    world.format = "exported"
    world.look()
    assert world.condition("UpToDate") == ("False", "RollingOut")
    assert world.settle()["stable"]["format"] == "exported"


def test_deleted_job_leaves_the_service_answering() -> None:
    world = World(trained(30))
    world.settle()
    world.job = None
    status = world.settle()
    assert world.condition("Available") == ("True", "Serving")
    assert world.condition("UpToDate") == ("False", "TrainingJobNotFound")
    assert status["stable"]["step"] == 30
    assert world.plan and not world.plan.apply and not world.plan.delete


def test_better_checkpoint_rolls_out_while_the_old_one_answers() -> None:
    world = World(trained(30))
    world.settle()
    world.job = trained(40, 30)
    world.look()
    status = world.look()
    assert world.condition("UpToDate") == ("False", "RollingOut")
    assert world.condition("Available") == ("True", "Serving")
    assert (status["stable"]["step"], status["target"]["step"]) == (30, 40)
    assert world.settle()["stable"]["step"] == 40


def rolling_to_40() -> World:
    """A service of step 30 whose servers of step 40 are starting."""
    world = World(trained(30), select="latest")
    world.settle()
    world.job = trained(40, 30)
    world.look()
    return world


def test_a_rollout_ends_before_that_of_a_newer_checkpoint_begins() -> None:
    world = rolling_to_40()
    for steps in ((50, 40, 30), (60, 50, 40)):  # faster than servers start
        world.job = trained(*steps)
        status = world.look()
        assert (status["stable"]["step"], status["target"]["step"]) == (30, 40)
        assert world.condition("UpToDate") == ("False", "RollingOut")
    world.roll()
    status = world.look()
    assert (status["stable"]["step"], status["target"]["step"]) == (40, 60)
    assert world.settle()["stable"]["step"] == 60


def prune(world: World) -> None:
    world.job = trained(60, 50)


def fail(world: World) -> None:
    world.job = trained(60, 50, 40)
    template = world.objects["Deployment", "digits"]["spec"]["template"]
    pod = server_pod("digits-40-0", template, works=False)
    pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] = 137
    world.objects["Pod", "digits-40-0"] = pod


def give_up(world: World) -> None:
    world.job = trained(60, 50, 40)
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    world.objects["Deployment", "digits"]["status"] = {"conditions": [condition]}


def ask_for_another(world: World) -> None:
    world.job, world.select, world.generation = trained(60, 50, 40), 60, 2


@pytest.mark.parametrize("happen", [prune, fail, give_up, ask_for_another])
def test_a_rollout_is_left_where_it_cannot_end_or_is_not_wanted(happen: Callable[[World], None]) -> None:
    world = rolling_to_40()
    happen(world)
    assert world.look()["target"]["step"] == 60


def test_rejected_checkpoint_is_recorded_with_its_reason_and_the_next_takes_its_place() -> None:
    world = World(trained(40, 30, 20, best=40), broken=(40, 30))
    status = world.settle()
    for _ in range(3):
        world.roll()
        status = world.look()
    assert [item["step"] for item in status["rejected"]] == [40, 30]
    assert status["rejected"][0]["reason"] == "sha256 of weights.pt differs"
    assert status["stable"]["step"] == 20
    assert world.condition("UpToDate") == ("False", "CheckpointRejected")


def test_when_all_are_rejected_it_says_so() -> None:
    world = World(trained(40), broken=(40,))
    world.settle()
    assert world.condition("UpToDate") == ("False", "CheckpointRejected")


def test_missing_source_holds_the_rollout() -> None:
    world = World(trained(40), missing=frozenset({Reference("ConfigMap", "code")}))
    world.look()
    assert world.condition("UpToDate") == ("False", "ConfigMapNotFound")
    assert not world.objects


def test_foreign_object_of_the_same_name_is_not_adopted() -> None:
    world = World(trained(40))
    world.objects[("Service", "digits")] = {
        **{"apiVersion": "v1", "kind": "Service"},
        **{"metadata": {"name": "digits", "uid": "other"}, "spec": {}},
    }
    world.look()
    assert world.condition("UpToDate") == ("False", "NameConflict")
    assert set(world.objects) == {("Service", "digits")}


def test_disruption_budget_is_there_only_for_several_replicas() -> None:
    world = World(trained(40), replicas=2)
    world.settle()
    assert ("PodDisruptionBudget", "digits") in world.objects
    world.replicas = 1
    world.settle()
    assert ("PodDisruptionBudget", "digits") not in world.objects


def test_scaled_to_zero_is_said() -> None:
    world = World(trained(40), replicas=0)
    world.settle()
    assert world.condition("Available") == ("False", "NoReadyPods")
    assert world.plan and world.plan.look_again_after == timedelta(seconds=2)
