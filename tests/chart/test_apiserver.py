"""The chart on a real kube-apiserver: it is accepted whole, grants what it should, and lives through its life cycle."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chart.rendering import CHART, NAMESPACE, ROOT, Object, Rule, Values, helm, render, the
from chart.test_template import VARIANTS
from leyden_cluster.apiserver import ApiServer

pytestmark = pytest.mark.api

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:leyden"
NAMESPACES = (NAMESPACE, "red", "blue", "green")


class Cluster:
    """kubectl and helm against one API server."""

    def __init__(self, kubectl: str, kubeconfig: Path) -> None:
        self._kubectl = kubectl
        self._kubeconfig = kubeconfig

    def kubectl(self, *arguments: str, given: list[Object] | None = None) -> subprocess.CompletedProcess[str]:
        """One call; objects go to its standard input as a list."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": given or []})
        return self._run([self._kubectl, *arguments], listed)

    def helm(self, *arguments: str, values: Values | None = None) -> str:
        """One call that must succeed; returns what it prints."""
        chart = ["--values", "-"] if values is not None else []
        said = self._run([helm(), *arguments, "--namespace", NAMESPACE, *chart], json.dumps(values))
        assert said.returncode == 0, said.stderr
        return said.stdout

    def may(self, rule: Rule, namespace: str) -> bool:
        """Whether the operator's account may do this, as the API server's own authorizer says."""
        group, resource, verb = rule
        resource, _, subresource = resource.partition("/")
        asked = {"namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": ACCOUNT, "resourceAttributes": asked},
        }
        said = self.kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", given=[review])
        assert said.returncode == 0, said.stderr
        return said.stdout == "true"

    def has(self, kind: str, name: str, namespace: str = NAMESPACE) -> bool:
        return self.kubectl("get", kind, name, "--namespace", namespace).returncode == 0

    def _run(self, command: list[str], given: str) -> subprocess.CompletedProcess[str]:
        with_config = [command[0], f"--kubeconfig={self._kubeconfig}", *command[1:]]
        return subprocess.run(with_config, input=given, capture_output=True, text=True, check=False, timeout=180)


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    """The API server with our namespaces, all of which enforce and warn about restricted pod security."""
    made = Cluster(api_server.kubectl, api_server.kubeconfig)
    security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": security}} for name in NAMESPACES
    ]
    assert made.kubectl("apply", "-f", "-", given=namespaces).returncode == 0
    return made


@pytest.fixture
def installed(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The chart's rights, applied for real and taken away again."""
    objects = [item for item in render(request.param) if "Role" in item["kind"] or item["kind"] == "ServiceAccount"]
    assert cluster.kubectl("apply", "-f", "-", given=objects).returncode == 0
    yield cluster
    assert cluster.kubectl("delete", "-f", "-", given=objects).returncode == 0


@pytest.mark.parametrize("values", VARIANTS)
def test_the_api_server_accepts_every_variant_without_a_warning(cluster: Cluster, values: Values) -> None:
    # A ServiceMonitor is of the Prometheus operator, which is not here.
    objects = [item for item in render(values) if item["kind"] != "ServiceMonitor"]
    said = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=objects)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("installed", [pytest.param({}, id="defaults")], indirect=True)
def test_the_pod_is_admitted_where_restricted_is_enforced(installed: Cluster) -> None:
    pod = {**the(render(), "Deployment")["spec"]["template"], "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {"name": "operator", "namespace": NAMESPACE}
    said = installed.kubectl("apply", "--dry-run=server", "-f", "-", given=[pod])
    assert (said.returncode, said.stderr) == (0, "")
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    refused = installed.kubectl("apply", "--dry-run=server", "-f", "-", given=[pod])
    assert 'violates PodSecurity "restricted' in refused.stderr, "the check itself does not work"


@pytest.mark.parametrize(
    ("installed", "reached"),
    [
        pytest.param({}, {"red", "blue", "green"}, id="all namespaces"),
        pytest.param({"watch": {"namespaces": ["red", "blue"]}}, {"red", "blue"}, id="chosen namespaces"),
    ],
    indirect=["installed"],
)
def test_the_operator_may_work_where_it_watches_and_nowhere_else(installed: Cluster, reached: set[str]) -> None:
    for rule in (("leyden.dev", "trainingjobs", "watch"), ("", "pods", "create"), ("apps", "deployments", "patch")):
        assert {namespace for namespace in ("red", "blue", "green") if installed.may(rule, namespace)} == reached, rule


@pytest.mark.parametrize("installed", [pytest.param({}, id="all namespaces")], indirect=True)
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(("", "secrets", "get"), id="read a secret"),
        pytest.param(("", "pods/exec", "create"), id="run a command in a pod"),
        pytest.param(("", "pods/log", "get"), id="read logs"),
        pytest.param(("", "serviceaccounts/token", "create"), id="take another account's token"),
        pytest.param(("rbac.authorization.k8s.io", "clusterroles", "escalate"), id="grant itself more"),
        pytest.param(("leyden.dev", "trainingjobs", "delete"), id="delete a job"),
        pytest.param(("leyden.dev", "trainingjobs", "patch"), id="edit a job's spec"),
        pytest.param(("", "configmaps", "list"), id="list code"),
        pytest.param(("", "nodes", "get"), id="read nodes"),
        pytest.param(("", "users", "impersonate"), id="act as someone else"),
    ],
)
def test_the_operator_may_not(installed: Cluster, rule: Rule) -> None:
    assert not installed.may(rule, "red")


def test_jobs_outlive_the_release_and_a_new_release_takes_them_over(cluster: Cluster) -> None:
    job = ["--namespace", "red", "-f", str(ROOT / "examples" / "digits" / "trainingjob.yaml")]
    notes = cluster.helm("install", "leyden", str(CHART), values={})
    assert "watches all namespaces" in notes
    assert "kubectl apply -k examples/digits" in notes
    assert cluster.kubectl("wait", "--for=condition=Established", "crd/trainingjobs.leyden.dev").returncode == 0
    applied = cluster.kubectl("apply", *job)
    assert applied.returncode == 0, applied.stderr

    cluster.helm("upgrade", "leyden", str(CHART), values={"operator": {"logLevel": "debug"}})
    cluster.helm("uninstall", "leyden")
    assert not cluster.has("deployment", "leyden")
    assert cluster.has("trainingjob", "digits", "red")

    cluster.helm("install", "leyden", str(CHART), values={"crds": {"keep": False}})
    assert cluster.has("trainingjob", "digits", "red")
    cluster.helm("uninstall", "leyden", "--wait")
    assert not cluster.has("crd", "trainingjobs.leyden.dev")


def test_notes_name_the_watched_namespace_and_the_missing_crds(cluster: Cluster) -> None:
    values = {"watch": {"namespaces": ["red"]}, "crds": {"enabled": False}}
    notes = cluster.helm("install", "leyden", str(CHART), "--dry-run=server", values=values)
    assert "kubectl -n red apply -k examples/digits" in notes
    assert "kubectl apply --server-side -f crds/" in notes
