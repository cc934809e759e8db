import json
from typing import Any

import pytest

from leyden_contract.launch import CheckpointPlan, Run
from leyden_operator.api.inference import InferenceService, Served
from leyden_operator.api.training import Checkpoint
from leyden_operator.desired import serving, training
from leyden_operator.desired.pods import leave_lost_nodes
from leyden_operator.settings import Settings
from unit.decide.cluster import START, training_job

CLAIM = {"storage": {"persistentVolumeClaim": {"claimName": "c", "path": "p"}}}
SERVED = Served.model_validate({"step": 7, "digest": f"sha256:{0:064}", "claimName": "c", "directory": "p"})


def env_of(pod: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value") for item in pod["spec"]["containers"][0]["env"]}


def worker(origin: training.Origin | None = None, **spec: Any) -> dict[str, Any]:
    return training.worker(training_job(**spec), training.Place(2, 1), origin, False, Settings())


def inference_service(**spec: Any) -> InferenceService:
    metadata = {"name": "digits", "namespace": "ml", "uid": "service-uid", "creationTimestamp": START.isoformat()}
    model = {"trainingJob": {"name": "digits"}}
    return InferenceService.model_validate({"metadata": metadata, "spec": {"model": model, **spec}, "status": {}})


def test_same_input_gives_the_same_bytes() -> None:
    assert json.dumps(worker(checkpoint=CLAIM)) == json.dumps(worker(checkpoint=CLAIM))


def test_agent_can_read_what_it_is_given() -> None:
    env = env_of(
        worker(
            checkpoint={**CLAIM, "monitor": {"metric": "loss"}, "every": {"steps": 5}, "export": ["exported", "onnx"]}
        )
    )
    run = Run.model_validate_json(env["LEYDEN_RUN"])
    plan = CheckpointPlan.model_validate_json(env["LEYDEN_CHECKPOINT"])
    assert plan.export == ("exported", "onnx")
    assert run.module and run.module.model == "digits:LitDigits"
    assert (plan.directory, plan.every.steps, plan.resume.mode) == ("/checkpoints/p", 5, "auto")
    assert run.lightning == "installed"
    assert env["LEYDEN_COORDINATOR"] == "http://digits-2-coordinator.digits-2.ml.svc:8476"


def test_agent_learns_what_to_import_as_lightning() -> None:
    env = env_of(worker(run={"script": {"path": "train.py"}, "lightning": "leyden"}))
    assert Run.model_validate_json(env["LEYDEN_RUN"]).lightning == "leyden"


def test_text_that_looks_like_a_reference_to_a_variable_stays_as_it_is() -> None:
    env = env_of(worker(env=[{"name": "A", "value": "$(HOME)"}]))
    assert env["A"] == "$$(HOME)", "Kubernetes turns this into $(HOME)"


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param({}, "auto", id="auto"),
        pytest.param({"processesPerNode": 3}, "3", id="given"),
        pytest.param({"resources": {"limits": {"nvidia.com/gpu": 4}}}, "4", id="one-per-gpu"),
    ],
)
def test_processes_per_node(spec: dict[str, Any], want: str) -> None:
    assert env_of(worker(**spec))["LEYDEN_PROCESSES_PER_NODE"] == want


@pytest.mark.parametrize(
    ("claim", "directory"),
    [pytest.param("c", "/checkpoints/q", id="same-claim"), pytest.param("d", "/origin/q", id="another-claim")],
)
def test_other_jobs_checkpoint_is_where_its_claim_is_mounted(claim: str, directory: str) -> None:
    plan = training.checkpoint_plan(Checkpoint.model_validate(CLAIM), training.Origin(claim, "q", 7))
    assert plan and (plan.resume.mode, plan.resume.directory, plan.resume.step) == ("other", directory, 7)


@pytest.mark.parametrize("pod", [worker(), training.coordinator(training_job(), 0, 3, Settings())])
def test_pods_have_no_privileges_and_no_token(pod: dict[str, Any]) -> None:
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_pods_run_by_the_runtime_that_placement_names() -> None:
    """Where NVIDIA's is not the nodes' default, a pod sees no GPU without it."""
    named = {"runtimeClassName": "nvidia"}
    server = serving.deployment(inference_service(placement=named), SERVED, Settings())
    for spec in (worker(placement=named)["spec"], server["spec"]["template"]["spec"]):
        assert spec["runtimeClassName"] == "nvidia"
    assert "runtimeClassName" not in worker()["spec"]


def test_every_pod_leaves_a_lost_node_soon_whatever_else_it_tolerates() -> None:
    own = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    coordinator = training.coordinator(training_job(), 0, 3, Settings())
    server = serving.deployment(inference_service(placement={"tolerations": own}), SERVED, Settings())
    assert coordinator["spec"]["tolerations"] == leave_lost_nodes()
    assert worker(placement={"tolerations": own})["spec"]["tolerations"] == [*own, *leave_lost_nodes()]
    assert server["spec"]["template"]["spec"]["tolerations"] == [*own, *leave_lost_nodes()]
