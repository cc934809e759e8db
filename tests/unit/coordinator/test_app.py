"""The coordinator over HTTP: who may speak, what is refused, and that nothing is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from leyden_coordinator.app import MAX_BODY_BYTES, application
from leyden_coordinator.state import new
from leyden_coordinator.store import Store

Client = TestClient[Request, Application]
TOKEN = {"Authorization": "Bearer secret"}
JOIN = {"pod": "a", "pod_uid": "a", "index": 0, "address": "10.0.0.1", "local_world_size": 1}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    app = application(new("uid-0", 1, 2, 1), Store(tmp_path / "ledger.json"), "secret")
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer secre"}, id="wrong"),
        pytest.param({"Authorization": "secret"}, id="no-scheme"),
        pytest.param({"Authorization": "Bearer sécret"}, id="not-ascii"),
    ],
)
async def test_without_the_token_nothing_is_told(client: Client, headers: dict[str, str]) -> None:
    async with client.get("/v1/report", headers=headers) as response:
        assert response.status == 401 and "error" in await response.json()
    async with client.get("/healthz", headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "method, path, body, status, named",
    [
        pytest.param("POST", "/v1/join", b"no json", 422, "body", id="no-json"),
        pytest.param("POST", "/v1/join", b"{}", 422, "pod_uid", id="fields-missing"),
        pytest.param("PUT", "/v1/membership", b'{"min": 0, "max": 1}', 422, "min", id="below-the-minimum"),
        pytest.param("PUT", "/v1/membership", b'{"min": 3, "max": 1}', 422, "max", id="min-above-max"),
        pytest.param("POST", "/v1/join", b"[" + b" " * MAX_BODY_BYTES, 413, "error", id="too-large"),
        pytest.param("POST", "/v1/nothing", b"{}", 404, "error", id="no-such-path"),
        pytest.param("GET", "/v1/join", b"", 405, "error", id="wrong-method"),
    ],
)
async def test_bad_requests_are_answered_in_json(
    client: Client, method: str, path: str, body: bytes, status: int, named: str
) -> None:
    async with client.request(method, path, data=body, headers=TOKEN) as response:
        assert response.status == status
        assert named in str(await response.json())


async def test_a_round_forms_while_two_wait(client: Client) -> None:
    async def join(uid: str, index: int) -> dict[str, Any]:
        ask = {**JOIN, "pod": uid, "pod_uid": uid, "index": index}
        async with client.post("/v1/join", json=ask, headers=TOKEN) as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer

    first, second = await asyncio.gather(join("b", 1), join("a", 0))
    assert (first["rank_offset"], second["rank_offset"], first["world_size"]) == (1, 0, 2)
    async with client.get("/v1/report", headers=TOKEN) as response:
        assert (await response.json())["phase"] == "training"


async def test_members_learn_what_services_use_from_an_operator_of_any_release(client: Client) -> None:
    async with client.post("/v1/join", json=JOIN, headers=TOKEN) as response:
        assert response.status == 200
    beat = {"pod_uid": "a", "round": 0}
    told = {"min": 1, "max": 2, "served": ["sha256:1"], "of_a_later_release": 1}
    for membership, served in (({"min": 1, "max": 2}, None), (told, ["sha256:1"])):
        async with client.put("/v1/membership", json=membership, headers=TOKEN) as response:
            assert response.status == 200
        async with client.post("/v1/heartbeat", json=beat, headers=TOKEN) as response:
            assert await response.json() == {"notice": "none", "round": 0, "served": served}


async def test_who_hangs_up_does_not_wait_any_more(tmp_path: Path) -> None:
    state = new("uid-0", 2, 2, 1)
    server = TestServer(application(state, Store(tmp_path / "ledger.json"), "secret"))
    await server.start_server()
    async with ClientSession(headers=TOKEN) as session:
        asking = asyncio.create_task(session.post(server.make_url("/v1/join"), json=JOIN))
        await _until(lambda: "a" in state.waiting)
        asking.cancel()
        await _until(lambda: not state.waiting)
    await server.close()


async def _until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not seen():
            await asyncio.sleep(0.01)


def test_the_file_is_the_state(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "ledger.json")
    assert store.load() is None
    state = new("uid-0", 1, 2, 1)
    state.round = 4
    store.save(state)
    kept = Store(store.path).load()
    assert kept == state
    assert [path.name for path in store.path.parent.iterdir()] == ["ledger.json"]
