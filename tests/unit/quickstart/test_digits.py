"""The quickstart's pictures and progress line."""

from pathlib import Path

import pytest

from leyden_quickstart.console import StepFailed
from leyden_quickstart.digits import Answer, _trained, picture, progress_line
from leyden_quickstart.kubernetes import Kubectl

KUBECTL = Kubectl("kubectl", Path("/kubeconfig"), "ns")


def test_a_picture_shows_strokes_prediction_and_truth() -> None:
    image = [[0.0] * 8 for _ in range(8)]
    image[0][1] = 1.0
    lines = picture({"image": image, "truth": 3}, Answer(label=5, step=7, digest="sha256:0")).splitlines()
    assert lines[0] == "      @@" and len(lines) == 8
    assert "predicted 5" in lines[3] and "truth     3   WRONG" in lines[4]


def test_the_progress_line_is_never_blank() -> None:
    assert progress_line({}) == "Pending  0/? nodes  "
    status = {
        "phase": "Running",
        "nodes": {"ready": 3, "desired": 3},
        "progress": {"percent": 41.7, "remainingSeconds": 9, "metrics": {"val_acc": 0.9123456}},
    }
    assert progress_line({"status": status}) == "Running  3/3 nodes  42 %  9.0 s left  val_acc 0.9123"


def test_a_failed_job_ends_the_wait_with_its_first_failure() -> None:
    condition = {"type": "Failed", "status": "True", "reason": "NotRetryable", "message": "Training cannot go on."}
    failure = {"reason": "ModuleNotFound", "message": "digitz"}
    with pytest.raises(StepFailed, match="ModuleNotFound: digitz"):
        _trained(KUBECTL, {"status": {"conditions": [condition], "lastFailure": failure}})


def test_a_job_that_waits_for_something_is_not_given_up() -> None:
    condition = {"type": "Accepted", "status": "False", "reason": "PersistentVolumeClaimNotFound", "message": "x"}
    assert not _trained(KUBECTL, {"status": {"conditions": [condition]}})
