"""Talking to the coordinators of training jobs."""

import logging

import aiohttp
from pydantic import ValidationError

from leyden_contract.wire import PORT, Membership, Report
from leyden_operator.api import Json, TrainingJob
from leyden_operator.desired import names

log = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=2)


class Coordinators:
    """One HTTP session for all of them. A coordinator that does not answer is normal: it may be starting."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def report(self, job: TrainingJob, children: list[Json]) -> Report | None:
        """What the coordinator of the present attempt tells, or ``None``."""
        if (url := address(job, children)) is None:
            return None
        try:
            async with self._session.get(f"{url}/v1/report", headers=_token(job), timeout=TIMEOUT) as answer:
                answer.raise_for_status()
                return Report.model_validate_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError) as error:
            log.debug("%s/%s: no report: %s", job.metadata.namespace, job.metadata.name, error)
            return None

    async def tell(self, job: TrainingJob, children: list[Json], membership: Membership) -> None:
        """Give the coordinator the membership.

        Raises:
            CoordinatorUnreachable: it could not be told; what depends on it must wait.
        """
        if (url := address(job, children)) is None:
            raise CoordinatorUnreachable("the coordinator has no address yet")
        body = membership.model_dump_json()
        headers = {**_token(job), "Content-Type": "application/json"}
        try:
            async with self._session.put(f"{url}/v1/membership", data=body, headers=headers, timeout=TIMEOUT) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CoordinatorUnreachable(f"the coordinator does not answer: {error}") from error


class CoordinatorUnreachable(Exception):
    """A coordinator could not be told something."""


def address(job: TrainingJob, children: list[Json]) -> str | None:
    """URL of the running coordinator. By its pod's address, which is there before any DNS record is."""
    name = names.coordinator_name(job.metadata.name, job.status.attempt)
    for child in children:
        if child["kind"] == "Pod" and child["metadata"]["name"] == name:
            status = child.get("status", {})
            if status.get("phase") == "Running" and (ip := status.get("podIP")):
                return f"http://[{ip}]:{PORT}" if ":" in ip else f"http://{ip}:{PORT}"
    return None


def _token(job: TrainingJob) -> dict[str, str]:
    return {"Authorization": f"Bearer {job.metadata.uid}"}
