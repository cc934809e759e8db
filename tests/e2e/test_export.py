"""A job uses what the engine has; its model is served from its exports, without its code, and from its checkpoint."""

import json
from typing import Any

import pytest

from e2e.kube import EXAMPLES, Cluster, checkpoints, code, inference_service, training_job
from e2e.test_serving import post
from e2e.test_storage import folder_of
from leyden_quickstart.kubernetes import condition

IMAGES = [each["image"] for each in json.loads((EXAMPLES / "digits" / "held-out.json").read_text())]
TRAINER: dict[str, Any] = {
    **{"precision": "bf16-mixed", "accumulate_grad_batches": 2, "gradient_clip_val": 1.0, "log_every_n_steps": 1},
    "callbacks": [
        {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 10}},
        {"class_path": "leyden.callbacks.LearningRateMonitor"},
    ],
    "logger": [
        {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "/checkpoints", "name": "tensorboard"}},
        {"class_path": "leyden.loggers.JSONLinesLogger", "init_args": {"save_dir": "/checkpoints", "name": "lines"}},
    ],
}


def run(epochs: int) -> dict[str, Any]:
    config = {"data": {"batch_size": 32}, "trainer": {**TRAINER, "max_epochs": epochs}}
    return {"module": {"model": "digits:LitDigits", "data": "digits:DigitsData", "config": config}}


def keeping(name: str, **more: Any) -> dict[str, Any]:
    claim = {"persistentVolumeClaim": {"claimName": "checkpoints", "path": name}}
    return {"storage": claim, "monitor": {"metric": "val_acc", "mode": "max"}, **more}


def answers(cluster: Cluster, name: str) -> list[list[float]]:
    """The scores of the held-out images, from a service that is ready."""
    service = cluster.wait_condition("inferenceservice", name, "Ready", seconds=240)
    with cluster.kubectl.forward(f"service/{name}", 80) as url:
        status, said, _ = post(url, json.dumps({"inputs": [[image] for image in IMAGES]}).encode())
    assert status == 200 and said["digest"] == service["status"]["stable"]["digest"], said
    scores: list[list[float]] = said["outputs"]
    return scores


@pytest.mark.timeout(900)
def test_a_model_is_served_from_its_exports_without_its_code_and_from_its_checkpoint(cluster: Cluster) -> None:
    cluster.apply(code(), checkpoints(), training_job("first", run=run(2), checkpoint=keeping("first")))
    first = cluster.wait_condition("trainingjob", "first", "Succeeded", seconds=240)["status"]["checkpoints"]
    assert not first["latest"].get("exports")
    logs = folder_of(cluster)
    logged = [json.loads(line) for line in (logs / "lines/metrics.jsonl").read_text().splitlines()]
    names = {name for entry in logged for name in entry}
    assert {"hyperparameters", "train_loss", "val_acc", "lr-Adam"} <= names, names
    assert list((logs / "tensorboard").rglob("events.out.tfevents.*")), sorted(logs.rglob("*"))
    exports = ["exported", "onnx", "torchscript"]
    resumed = keeping("second", resume={"trainingJob": "first", "select": "latest"}, export=exports)
    cluster.apply(training_job("second", run=run(3), checkpoint=resumed))
    found = cluster.wait_condition("trainingjob", "second", "Succeeded", seconds=240)["status"]["checkpoints"]
    assert found["latest"]["step"] > first["latest"]["step"] and len(found["kept"]) == 1, "it goes on from the first"
    assert sorted(found["best"]["exports"]) == exports

    cluster.apply(inference_service("no-export", "first", model={"trainingJob": {"name": "first"}, "format": "onnx"}))
    lacking = cluster.wait_condition("inferenceservice", "no-export", "UpToDate", "False", 60)
    assert condition(lacking, "UpToDate")["reason"] == "FormatNotFound"

    cluster.delete("configmap", "code")
    given = {}
    for format in exports:
        model = {"trainingJob": {"name": "second"}, "format": format}
        cluster.apply(inference_service(format, "second", model=model))
        given[format] = answers(cluster, format)
    cluster.apply(code())
    model = {"trainingJob": {"name": "second"}, "format": "checkpoint"}
    cluster.apply(inference_service("checkpoint", "second", model=model))
    wanted = answers(cluster, "checkpoint")
    for format, scores in given.items():
        for mine, right in zip(scores, wanted, strict=True):
            assert mine == pytest.approx(right, rel=1e-4, abs=1e-4), format
