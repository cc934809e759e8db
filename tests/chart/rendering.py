"""Renders the chart with helm and looks into what comes out."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "leyden"
NAMESPACE = "leyden-system"
KUBERNETES = "1.37.0"
"""What the cluster is said to be where there is none to ask."""

Object = dict[str, Any]
Values = dict[str, Any]


class Refused(Exception):
    """helm did not accept the values; the message is what it told the user."""


@cache
def helm() -> str:
    """Path of helm: the one on ``PATH``, else the local cluster's own build.

    Raises:
        RuntimeError: neither is there.
    """
    if found := shutil.which("helm"):
        return found
    asked = [sys.executable, "-m", "leyden_cluster", "which", "helm"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=ROOT / "cluster")
    if answer.returncode != 0:
        raise RuntimeError(f"helm is neither on PATH nor built (`make binaries`): {answer.stderr.strip()}")
    return answer.stdout.strip()


def render(values: Values | None = None, release: str = "leyden", chart: Path = CHART) -> list[Object]:
    """All objects of the chart for these values.

    Raises:
        Refused: the values are not accepted.
    """
    command = [helm(), "template", release, str(chart), "--namespace", NAMESPACE, "--kube-version", KUBERNETES]
    said = subprocess.run(
        [*command, "--values", "-"], input=json.dumps(values or {}), capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise Refused(said.stderr)
    return [item for item in yaml.safe_load_all(said.stdout) if item]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def the(objects: list[Object], kind: str) -> Object:
    """The only object of a kind."""
    found = of_kind(objects, kind)
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def container(objects: list[Object]) -> Object:
    """The operator's container."""
    found: Object = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(objects: list[Object]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(objects)["env"]}


Rule = tuple[str, str, str]
"""API group, resource, verb."""


def operator_rules(objects: list[Object]) -> set[Rule]:
    """What the operator's account may do, through whatever role is bound to it."""
    bound = {
        item["roleRef"]["name"] for kind in ("RoleBinding", "ClusterRoleBinding") for item in of_kind(objects, kind)
    }
    roles = [*of_kind(objects, "Role"), *of_kind(objects, "ClusterRole")]
    return {rule for role in roles if role["metadata"]["name"] in bound for rule in _rules(role)}


def _rules(role: Object) -> Iterator[Rule]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb
