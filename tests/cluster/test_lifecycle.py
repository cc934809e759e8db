"""What a cluster has to survive: dead components, lost nodes, pulled cables; and what pods may rely on."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from leyden_cluster import lifecycle, processes
from leyden_cluster.settings import Node, state_directory

pytestmark = pytest.mark.cluster

FIRST, VICTIM = Node(1), Node(2)
SLEEP = "import time; time.sleep(600)"


def ready(node: Node) -> Callable[[], bool]:
    return lambda: node.name in lifecycle.ready_nodes(lifecycle.plane())


@pytest.mark.parametrize("component", ["kube-apiserver", "node2-containerd", "node2-kubelet", "node2-kube-proxy"])
def test_up_repairs_a_dead_component_and_pods_live_on(
    cluster: Any, command: Callable[..., str], component: str
) -> None:
    cluster.apply(cluster.pod("witness", VICTIM, SLEEP))
    cluster.await_phase("witness", "Running")
    started = cluster.get("pod", "witness")["status"]["containerStatuses"][0]["containerID"]
    record = state_directory() / "run" / f"{component}.json"
    pid = processes.recorded_pid(record)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    command("up", "--nodes", str(len(lifecycle.present_nodes())))
    assert time.monotonic() - began < 30
    assert processes.recorded_pid(record) not in {None, pid}
    status = cluster.get("pod", "witness")["status"]
    assert (status["phase"], status["containerStatuses"][0]["containerID"]) == ("Running", started)


def test_a_killed_node_is_noticed_and_comes_back(
    cluster: Any, command: Callable[..., str], eventually: Callable[..., None]
) -> None:
    cluster.apply(cluster.pod("witness", FIRST, SLEEP))
    cluster.await_phase("witness", "Running")
    command("kill-node", VICTIM.name)
    eventually(ready(VICTIM), False)
    command("start-node", VICTIM.name)
    eventually(ready(VICTIM), True)
    assert cluster.phase("witness") == "Running"
    cluster.apply(cluster.pod("after", VICTIM, "pass"))
    cluster.await_phase("after", "Succeeded")


def test_a_pulled_cable_is_noticed_and_healed(
    cluster: Any, command: Callable[..., str], eventually: Callable[..., None]
) -> None:
    command("partition", VICTIM.name)
    eventually(ready(VICTIM), False)
    # Another node's start leaves the cable as it is.
    command("start-node", FIRST.name)
    assert not ready(VICTIM)()
    command("partition", VICTIM.name, "--heal")
    eventually(ready(VICTIM), True)


def test_two_nodes_share_a_volume(cluster: Any) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    volumes = [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]
    cluster.apply(claim, cluster.pod("writer", FIRST, "open('/shared/word', 'w').write('leyden')", volumes=volumes))
    cluster.await_phase("writer", "Succeeded")
    cluster.apply(cluster.pod("reader", VICTIM, "print(open('/shared/word').read())", volumes=volumes))
    cluster.await_phase("reader", "Succeeded")
    assert cluster.kubectl("logs", "reader").strip() == "leyden"


def test_a_headless_service_is_found_from_another_node(cluster: Any) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "crew"},
        "spec": {"clusterIP": "None", "selector": {"app": "member"}, "publishNotReadyAddresses": True},
    }
    cluster.apply(service, cluster.pod("member", FIRST, SLEEP, hostname="member", subdomain="crew"))
    cluster.await_phase("member", "Running")
    name = f"member.crew.{cluster.namespace}.svc.cluster.local"
    ask = f"""
import socket, time
for _ in range(100):
    try:
        print(socket.gethostbyname({name!r}))
        break
    except socket.gaierror:
        time.sleep(0.2)
"""
    cluster.apply(cluster.pod("asker", VICTIM, ask))
    cluster.await_phase("asker", "Succeeded")
    assert cluster.kubectl("logs", "asker").strip() == cluster.get("pod", "member")["status"]["podIP"]


def test_the_store_is_within_reach_of_pods_and_takes_its_own_keys_alone(
    cluster: Any, command: Callable[..., str]
) -> None:
    command("up", "--nodes", str(len(lifecycle.present_nodes())), "--s3")
    keys = json.loads((state_directory() / "s3.json").read_text())

    def reads_back_what_it_wrote(secret: str) -> bool:
        login = ("--endpoint", keys["endpoint"], "--access", keys["access"], "--secret", secret)
        tool = (command("which", "versitygw").strip(), "test", *login, "GetObject_success")
        return subprocess.run(tool, env={}, capture_output=True, check=False).returncode == 0

    assert reads_back_what_it_wrote(keys["secret"])
    assert not reads_back_what_it_wrote("guessed")
    ask = f"""
import urllib.error, urllib.request
try:
    urllib.request.urlopen({keys["endpoint"]!r}, timeout=10)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    cluster.apply(cluster.pod("asker", VICTIM, ask))
    cluster.await_phase("asker", "Succeeded")
    assert cluster.kubectl("logs", "asker").strip() == "403"
