"""One reconciliation: observe, decide, act, in the order that loses nothing when it is cut off anywhere."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from leyden_operator.api import Condition, InferenceService, Json, TrainingJob
from leyden_operator.cluster import Cluster
from leyden_operator.controllers.act import Actor
from leyden_operator.controllers.coordinators import Coordinators
from leyden_operator.controllers.observe import Observer
from leyden_operator.controllers.queue import Key
from leyden_operator.decide import Observed, Plan, decide_inference, decide_training, invalid_status
from leyden_operator.settings import Settings

log = logging.getLogger(__name__)

Decide = Callable[[Observed], Plan]
Tell = Callable[[Plan], Awaitable[None]]
COUNTERS = ("attempt", "restarts", "rejected")
"""Fields of the status that cannot be observed again: they are written before anything is done about them."""
CONDITIONS = TypeAdapter(tuple[Condition, ...])


@dataclass(frozen=True)
class Reconciler:
    """Reconciles resources of both kinds."""

    cluster: Cluster
    observer: Observer
    coordinators: Coordinators
    settings: Settings
    refused: set[str] = field(default_factory=set)
    """UIDs of resources of which the API server refused a child the last time."""

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring one resource closer to what is asked for. When to look again; ``None``: when something happens."""
        raw = await self.cluster.get(key.kind, key.namespace, key.name)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            return None
        raw = {**raw, "kind": key.kind}
        try:
            if key.kind == "TrainingJob":
                return await self._training(raw, TrainingJob.model_validate(raw))
            return await self._inference(raw, InferenceService.model_validate(raw))
        except ValidationError as error:
            return await self._invalid(raw, error)

    async def _training(self, raw: Json, job: TrainingJob) -> timedelta | None:
        children = await self.observer.children("TrainingJob", job.metadata.namespace, job.metadata.name)
        observed = await self.observer.observed(job, children)
        report = await self.coordinators.report(job, children)

        def decide(seen: Observed) -> Plan:
            return decide_training(job, seen, report, self.settings, datetime.now(UTC))

        async def tell(plan: Plan) -> None:
            if plan.membership:
                await self.coordinators.tell(job, children, plan.membership)

        return await self._carry_out(Actor(self.cluster, raw, children), observed, decide, tell)

    async def _inference(self, raw: Json, service: InferenceService) -> timedelta | None:
        children = await self.observer.children("InferenceService", service.metadata.namespace, service.metadata.name)
        observed = await self.observer.observed(service, children)

        def decide(seen: Observed) -> Plan:
            return decide_inference(service, seen, self.settings, datetime.now(UTC))

        async def tell(plan: Plan) -> None:
            """A service has nobody to tell."""

        return await self._carry_out(Actor(self.cluster, raw, children), observed, decide, tell)

    async def _carry_out(self, actor: Actor, observed: Observed, decide: Decide, tell: Tell) -> timedelta | None:
        """Write what must not be forgotten, act, and say how it went.

        Where the API server refused something the last time, it is likely to do so again: the status is then written
        once, when that is known, or it would change to and fro with every look.
        """
        plan = decide(observed)
        changed = False
        if actor.uid not in self.refused or actor.would_change(plan.status, COUNTERS):
            changed = await actor.write_status(plan.status)
        await tell(plan)
        await actor.delete(plan)
        refusals = await actor.apply(plan)
        if refusals:
            plan = decide(replace(observed, refusals=refusals))
            self.refused.add(actor.uid)
        else:
            self.refused.discard(actor.uid)
        changed = await actor.write_status(plan.status) or changed
        if changed:
            await actor.post(plan.events)
        return plan.look_again_after

    async def _invalid(self, raw: Json, error: ValidationError) -> timedelta | None:
        """The API server let through what the models do not: say so, touch nothing else."""
        status = raw.get("status", {})
        try:
            before = CONDITIONS.validate_python(status.get("conditions", ()))
        except ValidationError:
            before = ()
        generation = raw["metadata"].get("generation", 0)
        fields = invalid_status(raw["kind"], before, error, generation, datetime.now(UTC))
        await Actor(self.cluster, raw, []).write_status({**status, **fields})
        return None
