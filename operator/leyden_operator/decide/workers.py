"""Worker pods: which are there, which are missing, which go, and what the coordinator is told of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from leyden_contract.wire import Cause, Departure, Membership, Report
from leyden_operator.api import TrainingJob
from leyden_operator.decide.children import IMAGE_PROBLEMS, Pod
from leyden_operator.desired import names
from leyden_operator.desired.training import Place

FIRST_PAUSE = timedelta(seconds=2)
FINISHING = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True)
class Workers:
    """The worker pods of a job's present attempt, and of earlier ones."""

    job: TrainingJob
    attempt: int
    pods: tuple[Pod, ...]
    now: datetime

    @property
    def present(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.attempt == self.attempt]

    @property
    def former(self) -> list[Pod]:
        """Pods of earlier attempts that have not ended. Those on lost nodes are not waited for.

        If such a pod runs on, the checkpoint directory refuses it: the present attempt took it over.
        """
        earlier = (pod for pod in self.pods if pod.attempt != self.attempt)
        return [pod for pod in earlier if not pod.ended and not pod.out_of_reach(self.now)]

    @property
    def live(self) -> list[Pod]:
        return [pod for pod in self.present if pod.live]

    @property
    def surplus(self) -> list[Pod]:
        """Live pods beyond ``nodes.max``, and second ones of an index."""
        taken: set[int] = set()
        found = []
        for pod in sorted(self.live, key=lambda pod: (pod.index, pod.created, pod.name)):
            if pod.index >= self.job.spec.nodes.max or pod.index in taken:
                found.append(pod)
            taken.add(pod.index)
        return found

    @property
    def finished(self) -> bool:
        """All workers ended, and the newest of each index did so by the rules of training."""
        newest: dict[int, Pod] = {}
        for pod in sorted(self.present, key=lambda pod: (pod.created, pod.name)):
            if pod.index < self.job.spec.nodes.max:
                newest[pod.index] = pod
        done = [pod for pod in newest.values() if pod.phase == "Succeeded"]
        return len(done) >= self.job.spec.nodes.min and len(done) == len(newest)

    def failures(self, index: int) -> list[Pod]:
        """Pods of one index that failed as a whole, oldest first."""
        failed = [pod for pod in self.present if pod.index == index and pod.cause is Cause.FAILURE]
        return sorted(failed, key=lambda pod: (pod.created, pod.name))

    def missing(self) -> tuple[list[Place], timedelta | None]:
        """Pods to make now, and how long until one more is due that waits because its forerunners failed."""
        held = {pod.index for pod in self.present if pod.live or _just_finished(pod, self.now)}
        used = {pod.name for pod in self.present}
        due, waits = [], []
        for index in range(self.job.spec.nodes.max):
            if index in held:
                continue
            wait = self._pause(index)
            if wait > timedelta():
                waits.append(wait)
            else:
                due.append(self._place(index, used))
        return due, min(waits, default=None)

    def _pause(self, index: int) -> timedelta:
        failed = self.failures(index)
        if not failed or (ended := failed[-1].ended_at) is None:
            return timedelta()
        pause: timedelta = min(FIRST_PAUSE * 2 ** min(len(failed) - 1, 10), LONGEST_PAUSE)
        return ended + pause - self.now

    def _place(self, index: int, used: set[str]) -> Place:
        """The smallest free replacement number: a lost node may hold a name for long."""
        replacement = 0
        while names.worker_name(self.job.metadata.name, self.attempt, index, replacement) in used:
            replacement += 1
        return Place(self.attempt, index, replacement)

    def spent(self) -> list[Pod]:
        """Ended pods that nobody needs: all but the newest of an index that were taken away rather than failed."""
        found: list[Pod] = []
        for index in {pod.index for pod in self.present}:
            ended = [pod for pod in self.present if pod.index == index and pod.ended and not pod.terminating]
            ended.sort(key=lambda pod: (pod.created, pod.name))
            found += [pod for pod in ended[:-1] if pod.cause is not Cause.FAILURE]
        return found


def _just_finished(pod: Pod, now: datetime) -> bool:
    """It ended well, so the whole run is about to be over: the others may need a moment longer."""
    return pod.phase == "Succeeded" and (pod.ended_at is None or now < pod.ended_at + FINISHING)


def membership(workers: Workers, suspend: bool, served: tuple[str, ...]) -> Membership:
    """The whole truth for the coordinator. ``served``: digests of checkpoints that services use."""
    nodes = workers.job.spec.nodes
    surplus = {pod.uid for pod in workers.surplus}
    expected = [
        pod.uid
        for pod in workers.live
        if pod.uid not in surplus and not pod.unschedulable and not pod.waiting(IMAGE_PROBLEMS)
    ]
    draining, lost = [], []
    for pod in workers.present:
        cause = pod.cause
        if pod.uid in surplus:
            draining.append(Departure(pod_uid=pod.uid, cause=Cause.RESIZE))
        elif cause and pod.terminating and not pod.ended and cause is not Cause.NODE_LOST:
            draining.append(Departure(pod_uid=pod.uid, cause=cause))
        elif cause and not pod.live and pod.phase != "Succeeded":
            lost.append(Departure(pod_uid=pod.uid, cause=cause))
    return Membership(
        min=nodes.min,
        max=nodes.max,
        expected=tuple(sorted(expected)),
        draining=tuple(draining),
        lost=tuple(lost),
        suspend=suspend,
        served=served,
    )


def releasable(workers: Workers, report: Report | None) -> list[Pod]:
    """Surplus pods that may be deleted: they ended, never ran, or the coordinator has booked their going."""
    booked = {booking.key for booking in report.ledger} if report else set()
    waiting = [pod for pod in workers.surplus if pod.phase == "Pending" or f"pod-{pod.uid}" in booked]
    ended = [pod for pod in workers.present if pod.ended and pod.index >= workers.job.spec.nodes.max]
    return [*waiting, *(pod for pod in ended if not pod.terminating)]
