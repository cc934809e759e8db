"""A thin, typed client: get, list, create, apply, delete, status and events, each with a timeout."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic.client import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from leyden_operator.api import Json
from leyden_operator.cluster.errors import Conflict, NotFound, Unavailable, api_error
from leyden_operator.cluster.paths import KINDS, Kind

TIMEOUT_SECONDS = 10.0
MANAGER = "leyden"
"""Field manager of everything that the operator writes."""

NOT_PRINTED = re.compile("[\\x7f-\\x9f\\ufeff\\ufffe\\uffff]")
"""Characters that JSON may have as they are, and YAML may not."""


class Call(NamedTuple):
    """A request as RBAC sees it."""

    verb: str
    group: str
    resource: str


def _ignore(call: Call) -> None:
    """Nobody wants to know."""


def as_yaml(body: Json) -> bytes:
    """JSON that is YAML too, as which the API server reads what is applied.

    JSON may write a character beyond U+FFFF as two surrogates, and YAML knows none of them: a job whose error has an
    emoji would never get its status. What YAML does not print is escaped (YAML 1.2.2, section 5.1).
    """
    text = json.dumps(body, ensure_ascii=False)
    return NOT_PRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode(errors="replace")


class Cluster:
    """The API server. Errors are those of :mod:`leyden_operator.cluster.errors`."""

    def __init__(self, client: DynamicClient, told: Callable[[Call], None] = _ignore) -> None:
        self._client = client
        self._told = told

    async def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """One object, or ``None``."""
        try:
            return await self._request("get", KINDS[kind], namespace, name)
        except NotFound:
            return None

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Json]:
        """Objects with their kind filled in. An empty namespace: all of them."""
        known = KINDS[kind]
        answer = await self._request("list", known, namespace, label_selector=selector or None)
        return [{"apiVersion": known.api_version, "kind": kind, **item} for item in answer["items"]]

    async def create(self, body: Json) -> None:
        """Make an object.

        Raises:
            Conflict: the name is taken.
        """
        meta = body["metadata"]
        await self._request("create", KINDS[body["kind"]], meta["namespace"], body=body, field_manager=MANAGER)

    async def apply(self, body: Json) -> None:
        """Server-side apply. Where ``metadata.uid`` is given, only that very object is changed."""
        await self._apply(body)

    async def put_status(self, body: Json) -> None:
        """Write the whole status of an object of ours, which is the one that ``metadata.uid`` names."""
        await self._apply(body, "status")

    async def _apply(self, body: Json, subresource: str = "") -> None:
        await self._request(
            "patch",
            KINDS[body["kind"]],
            body["metadata"]["namespace"],
            body["metadata"]["name"],
            subresource,
            body=as_yaml(body),
            # With the charset, because the client would serialize by itself what is plainly of this type.
            content_type="application/apply-patch+yaml; charset=utf-8",
            field_manager=MANAGER,
            force_conflicts=True,
        )

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the very object of that UID. Nothing happens where it is gone, or another has its name."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._request("delete", KINDS[kind], namespace, name, body=body)
        except (NotFound, Conflict):
            return

    async def event(self, body: Json) -> None:
        """Post an event; one that is there already is renewed."""
        meta = body["metadata"]
        try:
            await self.create(body)
        except Conflict:
            renewed = {"lastTimestamp": body["lastTimestamp"]}
            await self._request(
                "patch",
                KINDS["Event"],
                meta["namespace"],
                meta["name"],
                body=renewed,
                content_type="application/merge-patch+json",
            )

    async def serves(self, kind: str) -> bool:
        """Whether the API server has a kind."""
        known = KINDS[kind]
        try:
            answer = await self._send("get", f"/apis/{known.api_version}")
        except NotFound:
            return False
        return any(resource["name"] == known.plural for resource in answer["resources"])

    async def _request(
        self, verb: str, kind: Kind, namespace: str, name: str = "", subresource: str = "", **arguments: Any
    ) -> Json:
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        self._told(Call(verb, kind.group, resource))
        method = {"list": "get", "create": "post"}.get(verb, verb)
        return await self._send(method, kind.path(namespace, name, subresource), **arguments)

    async def _send(self, method: str, path: str, **arguments: Any) -> Json:
        try:
            response = await self._client.request(
                method, path, serialize=False, _request_timeout=TIMEOUT_SECONDS, **arguments
            )
            answer: Json = await response.json()
        except (ApiException, DynamicApiError) as error:
            raise api_error(error.status or 0, error.body) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        return answer


@asynccontextmanager
async def connect(told: Callable[[Call], None] = _ignore) -> AsyncIterator[Cluster]:
    """The cluster of the pod's service account, or of ``KUBECONFIG`` outside of one."""
    settings = Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # has no types
    except config.ConfigException:
        await config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # has no types
    async with ApiClient(settings) as client:
        yield Cluster(DynamicClient(client), told)  # type: ignore[no-untyped-call]  # has no types
        # aiohttp closes its TLS connections in the background.
        await asyncio.sleep(0)
