"""A job that trains slowly enough to be disturbed, and how its status is read."""

from e2e.kube import Object, training_job

SLOW = """
import time

from digits import DigitsData, LitDigits


class Slow(LitDigits):
    \"\"\"The digits model at a pace that leaves time to disturb it.\"\"\"

    def training_step(self, batch, batch_idx):
        time.sleep(0.1)
        return super().training_step(batch, batch_idx)
"""


def long_job(name: str, minimum: int, maximum: int, epochs: int = 30) -> Object:
    run = {
        "module": {
            "model": "slow:Slow",
            "data": "slow:DigitsData",
            "config": {"data": {"batch_size": 64}, "trainer": {"max_epochs": epochs}},
        }
    }
    return training_job(name, run=run, nodes={"min": minimum, "max": maximum})


def step_of(job: Object) -> int:
    return int(job.get("status", {}).get("progress", {}).get("step", 0))


def newest_checkpoint(job: Object) -> int:
    latest = job.get("status", {}).get("checkpoints", {}).get("latest") or {}
    return int(latest.get("step", 0))


def ready_nodes(job: Object) -> int:
    return int(job.get("status", {}).get("nodes", {}).get("ready", 0))


def restarts(job: Object) -> dict[str, int]:
    by_cause: dict[str, int] = job["status"].get("restarts", {}).get("byCause", {})
    return {cause: count for cause, count in by_cause.items() if count}
