"""Checkpoint storage that is full, that may not be written, or that holds damaged files."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.elastic_job import SLOW, long_job, newest_checkpoint, ready_nodes, step_of
from e2e.kube import Cluster, Object, checkpoints, code, inference_service, training_job
from leyden_quickstart.kubernetes import condition, is_true


def volume(cluster: Cluster, folder: Path) -> tuple[Object, Object]:
    """A volume on a folder that all nodes share, and the claim that takes it."""
    name = f"checkpoints-{cluster.kubectl.namespace}"
    spec = {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": str(folder), "type": "Directory"},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
    }
    claim = checkpoints()
    claim["spec"] |= {"storageClassName": "", "volumeName": name}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}, claim


@pytest.fixture
def small(tmp_path: Path, cluster: Cluster) -> Iterator[Path]:
    """A file system of 16 MiB, claimed as ``checkpoints``."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=1777", "tmpfs", str(folder)], check=True)
    try:
        cluster.apply(*volume(cluster, folder))
        yield folder
    finally:
        cluster.kubectl.run("delete", "pods", "--all", "--grace-period=0", "--force")
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        cluster.kubectl.run("delete", "persistentvolume", f"checkpoints-{cluster.kubectl.namespace}", "--wait=false")


@pytest.fixture
def not_ours(tmp_path: Path, cluster: Cluster) -> Iterator[None]:
    """A folder that belongs to root, claimed as ``checkpoints``."""
    folder = tmp_path / "not-ours"
    folder.mkdir(mode=0o755)
    cluster.apply(*volume(cluster, folder))
    yield
    cluster.kubectl.run("delete", "persistentvolume", f"checkpoints-{cluster.kubectl.namespace}", "--wait=false")


def folder_of(cluster: Cluster) -> Path:
    """Where the claim's files are, as the nodes see them."""
    bound = cluster.wait("pvc", "checkpoints", lambda claim: claim["status"].get("phase") == "Bound")
    found = cluster.get("persistentvolume", bound["spec"]["volumeName"])
    return Path(found["spec"]["hostPath"]["path"])


def damage(checkpoint: Path) -> None:
    """Change one byte in the middle of the weights."""
    weights = checkpoint / "weights.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.write_bytes(content)


@pytest.mark.timeout(600)
def test_a_full_disk_keeps_earlier_checkpoints_and_training_goes_on_when_there_is_room(
    cluster: Cluster, small: Path
) -> None:
    restarts = {"max": 100}
    job = long_job("job", 1, 1, epochs=20)
    job["spec"]["restarts"] = restarts
    cluster.apply(code(slow=SLOW), job)
    cluster.wait("trainingjob", "job", lambda job: newest_checkpoint(job) > 0, 120)
    ballast = small / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=64k"], check=False, capture_output=True)

    def said(job: Object) -> bool:
        failure = job["status"].get("lastFailure") or {}
        return failure.get("reason") == "CheckpointStorage" and "No space left" in failure["message"]

    full = cluster.wait("trainingjob", "job", said, 120)
    kept = newest_checkpoint(full)
    assert kept > 0 and "earlier checkpoints are untouched" in full["status"]["lastFailure"]["message"]
    ballast.unlink()
    done = cluster.wait_condition("trainingjob", "job", "Succeeded", seconds=240)
    assert newest_checkpoint(done) == done["status"]["progress"]["totalSteps"] > kept


def test_storage_that_may_not_be_written_is_said_before_anything_is_trained(cluster: Cluster, not_ours: None) -> None:
    cluster.apply(code(), training_job("job", restarts={"max": 0}))
    job = cluster.wait_condition("trainingjob", "job", "Failed", seconds=120)
    failure = job["status"]["lastFailure"]
    assert failure["reason"] == "CheckpointStorage" and "Permission denied" in failure["message"]
    assert step_of(job) == 0


def test_training_resumes_from_the_checkpoint_before_a_damaged_one_and_says_so(cluster: Cluster) -> None:
    cluster.apply(code(slow=SLOW), checkpoints(), long_job("job", 1, 1, epochs=200))
    cluster.wait("trainingjob", "job", lambda job: len(kept(job)) > 1, 120)
    cluster.patch("trainingjob", "job", {"suspend": True})
    stopped = cluster.wait_condition("trainingjob", "job", "Suspended", seconds=90)
    newest, earlier = stopped["status"]["checkpoints"]["kept"][:2]
    damage(folder_of(cluster) / "job" / newest["path"])
    cluster.patch("trainingjob", "job", {"suspend": False})
    resumed = cluster.wait("trainingjob", "job", lambda job: ready_nodes(job) == 1 and passed_over(job), 120)
    assert newest["path"] in passed_over(resumed)[0] and "SHA-256" in passed_over(resumed)[0]
    assert step_of(resumed) > earlier["step"]


def kept(job: Object) -> list[Object]:
    found: list[Object] = job["status"].get("checkpoints", {}).get("kept", [])
    return found


def passed_over(job: Object) -> list[str]:
    found: list[str] = job["status"]["checkpoints"].get("skipped", [])
    return found


def test_a_damaged_checkpoint_is_rejected_and_the_one_before_is_served(cluster: Cluster) -> None:
    cluster.apply(code(), checkpoints(), training_job("job"))
    job = cluster.wait_condition("trainingjob", "job", "Succeeded", seconds=180)
    newest, earlier = job["status"]["checkpoints"]["kept"][:2]
    damage(folder_of(cluster) / "job" / newest["path"])
    cluster.apply(inference_service("service", "job", model={"trainingJob": {"name": "job", "select": "latest"}}))
    service = cluster.wait("inferenceservice", "service", lambda found: is_true(found, "Available"), 180)
    said = condition(service, "UpToDate")
    assert said["reason"] == "CheckpointRejected" and "weights.pt" in said["message"]
    assert service["status"]["stable"]["digest"] == earlier["digest"]
    assert [item["digest"] for item in service["status"]["rejected"]] == [newest["digest"]]
