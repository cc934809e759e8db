"""What the operator writes arrives as it was, whatever a user's program said."""

import asyncio
from typing import Any

import pytest
from kubernetes.aio.config import kube_config

from api.conftest import Api, Object, condition
from api.test_operator import CLAIM, CODE, job
from leyden_operator.cluster.client import connect

pytestmark = pytest.mark.api

SAID = {
    "an-emoji": "GLHF! \U0001f3d6\ufe0f",
    "colours": "\x1b[31mred\x1b[0m\tand\nlines",
    "other-controls": "\x7f\x85\x9f \ufeff",
    "quotes": """a "b" 'c' \\\\ud83c \\n: # - {}""",
    "scripts": "\u00e4\u4e2d\u6587\u0939",
}


@pytest.mark.parametrize("name", SAID)
def test_a_status_holds_any_text(api: Api, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # KUBECONFIG was read when the client was imported.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(api.server.kubeconfig))
    api.apply(CODE, CLAIM, job())
    asyncio.run(put_status(api, SAID[name]))
    assert condition(api.get("trainingjob", "job"), "Failed")["message"] == SAID[name]


async def put_status(api: Api, message: str) -> None:
    made = api.get("trainingjob", "job")
    told: Object = {"type": "Failed", "status": "True", "reason": "Test", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    meta = {name: made["metadata"][name] for name in ("name", "namespace", "uid")}
    status: dict[str, Any] = {"conditions": [{**told, "message": message}]}
    async with connect() as cluster:
        await cluster.put_status(
            {"apiVersion": made["apiVersion"], "kind": "TrainingJob", "metadata": meta, "status": status}
        )
