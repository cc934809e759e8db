"""The nodes' network: a bridge on the machine, a network namespace with a cable for each node, routes between pods."""

from pathlib import Path

from leyden_cluster.processes import run, succeeds
from leyden_cluster.settings import BRIDGE, HOST_ADDRESS, Node, all_nodes

FORWARD_RULE = ("FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-m", "comment", "--comment", "leyden-cluster", "-j", "ACCEPT")


def set_up(nodes: list[Node]) -> None:
    """Bridge, namespaces, cables and routes of these nodes. What is there stays as it is, a pulled cable too."""
    _bridge()
    for node in nodes:
        _namespace(node)
    for node in nodes:
        run("ip", "route", "replace", node.pod_network, "via", node.address)
        for other in nodes:
            if other != node:
                run("ip", "-n", node.namespace, "route", "replace", other.pod_network, "via", other.address)


def _bridge() -> None:
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{HOST_ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    if not succeeds("iptables", "-C", *FORWARD_RULE):
        run("iptables", "-I", *FORWARD_RULE)


def _namespace(node: Node) -> None:
    if not namespace_exists(node):
        run("ip", "netns", "add", node.namespace)
        run("ip", "-n", node.namespace, "link", "set", "lo", "up")
    if not Path(f"/sys/class/net/{node.link}").exists():
        run("ip", "link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
        run("ip", "link", "set", node.link, "up")
    run("ip", "link", "set", node.link, "master", BRIDGE)
    run("ip", "-n", node.namespace, "address", "replace", f"{node.address}/24", "dev", "eth0")
    run("ip", "-n", node.namespace, "link", "set", "eth0", "up")
    run("ip", "-n", node.namespace, "route", "replace", "default", "via", HOST_ADDRESS)
    run("nsenter", f"--net=/var/run/netns/{node.namespace}", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def namespace_exists(node: Node) -> bool:
    return Path(f"/var/run/netns/{node.namespace}").exists()


def partition(node: Node, heal: bool) -> None:
    """Pull the node's cable, or plug it in again."""
    run("ip", "link", "set", node.link, "up" if heal else "down")


def tear_down() -> None:
    """Remove everything that :func:`set_up` made, in any state it may be in."""
    for node in all_nodes():
        if Path(f"/sys/class/net/{node.link}").exists():
            run("ip", "link", "delete", node.link)
        if namespace_exists(node):
            run("ip", "netns", "delete", node.namespace)
    while succeeds("iptables", "-C", *FORWARD_RULE):
        run("iptables", "-D", *FORWARD_RULE)
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "delete", BRIDGE)


def leftovers() -> list[str]:
    """Names of what is still there."""
    links = [BRIDGE, *(node.link for node in all_nodes())]
    found = [f"link {name}" for name in links if Path(f"/sys/class/net/{name}").exists()]
    found += [f"network namespace {node.namespace}" for node in all_nodes() if namespace_exists(node)]
    return found + (["an iptables rule"] if "leyden-cluster" in run("iptables-save") else [])
