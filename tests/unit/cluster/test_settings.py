"""Addresses, versions, and whose folder a command may touch."""

import ipaddress
import os
import re
from pathlib import Path

import pytest

from leyden_cluster import binaries, settings, state
from leyden_cluster.settings import ClusterError, all_nodes, node_named


def test_every_node_has_an_address_and_a_pod_network_of_its_own() -> None:
    nodes = all_nodes()
    taken = {settings.HOST_ADDRESS, *(node.address for node in nodes)}
    assert len(taken) == len(nodes) + 1
    assert all(ipaddress.ip_address(each) in ipaddress.ip_network(settings.NODE_NETWORK) for each in taken)
    ranges = [ipaddress.IPv4Network(node.pod_network) for node in nodes]
    assert all(each.subnet_of(ipaddress.IPv4Network(settings.POD_NETWORK)) for each in ranges)
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_link_names_fit_the_kernel() -> None:
    assert all(len(name) <= 15 for name in [settings.BRIDGE, *(node.link for node in all_nodes())])


@pytest.mark.parametrize("name", ["node0", "node6", "", "NODE1"])
def test_an_unknown_node_is_named_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(repr(name)) + ".*node1, node2"):
        node_named(name)


def test_the_version_is_that_of_the_source() -> None:
    lines = (settings.SOURCE / "go.mod").read_text().split("\n")
    assert f"\tk8s.io/kubernetes v{settings.KUBERNETES_VERSION}" in lines


def test_helm_is_told_the_version_of_kubernetes() -> None:
    major, minor, _ = settings.KUBERNETES_VERSION.split(".")
    flags = binaries.linker_flags()
    assert f"chartutil.k8sVersionMajor={major} " in flags and f"chartutil.k8sVersionMinor={minor} " in flags


def test_the_key_changes_with_the_linker_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    before = binaries.key()
    monkeypatch.setattr(binaries, "linker_flags", lambda: "-s")
    assert binaries.key() != before


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEYDEN_CLUSTER_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("leyden_cluster.state.OWNER", tmp_path / "owner")
    return settings.state_directory()


def test_a_folder_with_foreign_files_is_neither_taken_nor_removed(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    for touch in (state.claim, state.release):
        with pytest.raises(ClusterError, match="no cluster's"):
            touch()
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_release_removes_what_was_claimed_and_goes_on_after_a_cut(folder: Path) -> None:
    state.claim()
    (folder / "etcd").mkdir()
    (folder / "etcd" / "data").touch()
    owner = folder.parent / "owner"
    assert owner.read_text() == str(folder)
    state.release()
    assert not folder.exists() and owner.read_text() == ""
    state.release()


def test_a_symbolic_link_to_the_state_folder_is_the_same_cluster(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.claim()
    os.symlink(folder, tmp_path / "link")
    monkeypatch.setenv("LEYDEN_CLUSTER_STATE", str(tmp_path / "link"))
    state.check_owner(str(folder))


def test_a_second_state_folder_is_told_of_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.claim()
    monkeypatch.setenv("LEYDEN_CLUSTER_STATE", f"{folder}-other")
    with pytest.raises(ClusterError, match=f"LEYDEN_CLUSTER_STATE={folder}"):
        state.check_owner(str(folder))
