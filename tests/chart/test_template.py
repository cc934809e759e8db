"""What the chart makes of each of its values."""

from dataclasses import fields
from typing import Any

import pytest
import yaml

from chart.rendering import (
    CHART,
    NAMESPACE,
    ROOT,
    Object,
    Values,
    container,
    environment,
    of_kind,
    operator_rules,
    render,
    the,
)
from leyden_operator.desired.pods import leave_lost_nodes
from leyden_operator.settings import Settings, from_environment

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}

VARIANTS = [
    pytest.param({}, id="defaults"),
    pytest.param({"watch": {"namespaces": ["red"]}}, id="one namespace"),
    pytest.param({"watch": {"namespaces": ["red", "blue"]}}, id="two namespaces"),
    pytest.param({"images": {"operator": {"digest": DIGEST}}}, id="digest"),
    pytest.param({"crds": {"enabled": False}}, id="without CRDs"),
    pytest.param({"crds": {"keep": False}}, id="CRDs go with the release"),
    pytest.param({"rbac": {"create": False}}, id="without RBAC"),
    pytest.param({"rbac": {"userRoles": False}}, id="without roles for people"),
    pytest.param({"serviceAccount": {"create": False, "name": "given"}}, id="a given account"),
    pytest.param({"serviceAccount": {"annotations": {"a/b": "c"}}}, id="an annotated account"),
    pytest.param({"networkPolicy": {"enabled": False}}, id="without network policy"),
    pytest.param(
        {
            "networkPolicy": {
                "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]},
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            }
        },
        id="narrow network policy",
    ),
    pytest.param({"metrics": {"enabled": False}}, id="without metrics"),
    pytest.param({"metrics": {"serviceMonitor": {"enabled": True, "labels": {"team": "a"}}}}, id="service monitor"),
    pytest.param(
        {
            "imagePullSecrets": [{"name": "registry"}],
            "operator": {
                "logLevel": "debug",
                "healthPort": 9000,
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                "podLabels": {"team": "a"},
                "podAnnotations": {"a/b": "true"},
                "nodeSelector": {"pool": "system"},
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "priorityClassName": "system-cluster-critical",
            },
        },
        id="every setting of the pod",
    ),
]


@pytest.mark.parametrize("values", VARIANTS)
def test_every_variant_is_a_set_of_well_formed_objects(values: Values) -> None:
    objects = render(values)
    keys = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(keys) == len(set(keys)), "an object is there twice"
    for item in objects:
        assert ("namespace" in item["metadata"]) != (item["kind"] in CLUSTER_SCOPED), item


@pytest.mark.parametrize("values", VARIANTS)
def test_the_pod_is_restricted_in_every_variant(values: Values) -> None:
    spec = the(render(values), "Deployment")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for each in spec["containers"]:
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert each["resources"]["limits"]["memory"]
    assert [list(volume) for volume in spec["volumes"]] == [["name", "emptyDir"]]


@pytest.mark.parametrize("values", VARIANTS)
def test_rights_hold_no_wildcard_and_nothing_that_grants_more(values: Values) -> None:
    rules = operator_rules(render(values))
    for group, resource, verb in rules:
        assert "*" not in (group, resource, verb)
        assert resource not in {"secrets", "serviceaccounts", "nodes", "roles", "clusterroles", "tokenreviews"}
        assert "/" not in resource or resource.endswith("/status"), resource
        assert verb in {"get", "list", "watch", "create", "patch", "delete"}


def test_there_is_one_operator_at_a_time() -> None:
    objects = render()
    spec = the(objects, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert not of_kind(objects, "PodDisruptionBudget"), "with one replica it would forbid every drain"


@pytest.mark.parametrize("own", [[], [{"key": "pool", "operator": "Exists"}]])
def test_the_operator_leaves_a_lost_node_soon(own: list[Object]) -> None:
    spec = the(render({"operator": {"tolerations": own}}), "Deployment")["spec"]["template"]["spec"]
    assert spec["tolerations"] == [*own, *leave_lost_nodes()]


def test_all_namespaces_take_a_cluster_role() -> None:
    objects = render()
    assert not of_kind(objects, "Role")
    assert environment(objects)["LEYDEN_WATCH_NAMESPACES"] == ""
    assert the(objects, "ClusterRoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": "leyden", "namespace": NAMESPACE}
    ]


def test_chosen_namespaces_take_a_role_in_each_and_nothing_else() -> None:
    objects = render({"watch": {"namespaces": ["red", "blue"]}, "crds": {"enabled": False}})
    assert not {item["kind"] for item in objects} & CLUSTER_SCOPED
    assert environment(objects)["LEYDEN_WATCH_NAMESPACES"] == "red,blue"
    for kind in ("Role", "RoleBinding"):
        assert [item["metadata"]["namespace"] for item in of_kind(objects, kind)] == ["red", "blue"]
    for binding in of_kind(objects, "RoleBinding"):
        assert binding["subjects"][0]["namespace"] == NAMESPACE


def test_rights_are_the_same_in_both_modes() -> None:
    assert operator_rules(render()) == operator_rules(render({"watch": {"namespaces": ["red"]}}))


def test_people_get_leyden_with_the_clusters_own_roles() -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(render(), "ClusterRole")}
    assert roles["leyden-view"]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert roles["leyden-edit"]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    for role in ("leyden-view", "leyden-edit"):
        assert [rule["resources"] for rule in roles[role]["rules"]] == [["trainingjobs", "inferenceservices"]]
    assert [role["metadata"]["name"] for role in of_kind(render({"rbac": {"userRoles": False}}), "ClusterRole")] == [
        "leyden"
    ]


def test_without_rbac_there_is_none_and_the_account_stays() -> None:
    kinds = {item["kind"] for item in render({"rbac": {"create": False}})}
    assert not {kind for kind in kinds if "Role" in kind}
    assert "ServiceAccount" in kinds


def test_a_given_account_is_used_and_not_made() -> None:
    objects = render({"serviceAccount": {"create": False, "name": "given"}})
    assert not of_kind(objects, "ServiceAccount")
    assert the(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "given"
    assert the(objects, "ClusterRoleBinding")["subjects"][0]["name"] == "given"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param({}, "localhost/leyden/trainer:dev", id="default"),
        pytest.param({"repository": "r.example.com:5000/t", "tag": "1.2"}, "r.example.com:5000/t:1.2", id="tag"),
        pytest.param({"tag": "1.2", "digest": DIGEST}, f"localhost/leyden/trainer@{DIGEST}", id="digest wins"),
    ],
)
def test_image_name(image: dict[str, str], expected: str) -> None:
    assert environment(render({"images": {"trainer": image}}))["LEYDEN_TRAINER_IMAGE"] == expected


def test_the_coordinator_runs_the_operators_image() -> None:
    objects = render({"images": {"operator": {"digest": DIGEST}, "pullPolicy": "Never"}})
    assert environment(objects)["LEYDEN_COORDINATOR_IMAGE"] == container(objects)["image"]
    assert environment(objects)["LEYDEN_IMAGE_PULL_POLICY"] == container(objects)["imagePullPolicy"] == "Never"


@pytest.mark.parametrize("values", VARIANTS)
def test_the_operator_understands_its_settings_and_gets_each(values: Values) -> None:
    given = environment(render(values))
    from_environment(given)
    assert given.keys() == {f"LEYDEN_{field.name.upper()}" for field in fields(Settings)}


def test_the_health_port_is_one_number_everywhere() -> None:
    objects = render({"operator": {"healthPort": 9000}})
    assert environment(objects)["LEYDEN_HEALTH_PORT"] == "9000"
    assert container(objects)["ports"] == [{"name": "health", "containerPort": 9000}]
    assert the(objects, "Service")["spec"]["ports"][0]["targetPort"] == "health"
    assert the(objects, "NetworkPolicy")["spec"]["ingress"] == [{"ports": [{"port": "health"}]}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container(objects)[probe]["httpGet"]["port"] == "health"


def test_selectors_select_the_operators_pod() -> None:
    objects = render({"metrics": {"serviceMonitor": {"enabled": True}}, "operator": {"podLabels": {"team": "a"}}})
    deployment = the(objects, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert the(objects, "Service")["spec"]["selector"].items() <= labels
    monitored = the(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    assert monitored <= the(objects, "Service")["metadata"]["labels"].items()


def _egress(**network: Any) -> list[Object]:
    found: list[Object] = the(render({"networkPolicy": network}), "NetworkPolicy")["spec"]["egress"]
    return found


def test_the_operator_reaches_names_the_api_server_and_coordinators_alone() -> None:
    names, api_server, coordinators = _egress(apiServer={"cidrs": ["10.0.0.1/32", "fd00::1/128"], "ports": [6443]})
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert api_server == {
        "ports": [{"port": 6443}],
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}, {"ipBlock": {"cidr": "fd00::1/128"}}],
    }
    assert coordinators["ports"] == [{"port": 8476}]
    assert coordinators["to"][0]["podSelector"]["matchLabels"]["leyden.dev/role"] == "coordinator"


def test_metrics_may_be_kept_to_some_peers() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    policy = the(render({"networkPolicy": {"metricsFrom": peers}}), "NetworkPolicy")
    assert policy["spec"]["ingress"] == [{"ports": [{"port": "health"}], "from": peers}]


@pytest.mark.parametrize(
    ("values", "absent"),
    [
        pytest.param({"networkPolicy": {"enabled": False}}, "NetworkPolicy", id="network policy"),
        pytest.param({"metrics": {"enabled": False}}, "Service", id="metrics"),
        pytest.param({}, "ServiceMonitor", id="service monitor is asked for"),
        pytest.param({"crds": {"enabled": False}}, "CustomResourceDefinition", id="CRDs"),
    ],
)
def test_what_is_switched_off_is_absent(values: Values, absent: str) -> None:
    assert not of_kind(render(values), absent)


def _generated_crds() -> dict[str, Object]:
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    return {crd["metadata"]["name"]: crd for crd in crds}


def test_the_charts_crds_are_the_generated_ones() -> None:
    ours = {path.name: path.read_bytes() for path in (ROOT / "crds").glob("*.yaml")}
    assert ours, "crds/ is empty"
    assert {path.name: path.read_bytes() for path in (CHART / "files" / "crds").glob("*.yaml")} == ours


@pytest.mark.parametrize(
    ("keep", "annotations"),
    [
        pytest.param(True, {"helm.sh/resource-policy": "keep"}, id="kept on uninstall"),
        pytest.param(False, {}, id="removed on uninstall"),
    ],
)
def test_helm_changes_nothing_in_a_crd_but_whether_it_is_kept(keep: bool, annotations: dict[str, str]) -> None:
    generated = _generated_crds()
    rendered = {
        crd["metadata"]["name"]: crd for crd in of_kind(render({"crds": {"keep": keep}}), "CustomResourceDefinition")
    }
    assert rendered.keys() == generated.keys() == {"trainingjobs.leyden.dev", "inferenceservices.leyden.dev"}
    for name, crd in generated.items():
        expected = {**crd.get("metadata", {}).get("annotations", {}), **annotations}
        assert rendered[name]["metadata"].pop("annotations", {}) == expected
        crd["metadata"].pop("annotations", None)
        assert rendered[name] == crd


@pytest.mark.parametrize(
    ("release", "name"),
    [
        pytest.param("leyden", "leyden", id="the name is not doubled"),
        pytest.param("my-leyden", "my-leyden", id="a name that holds it"),
        pytest.param("ml", "ml-leyden", id="another name"),
    ],
)
def test_objects_are_named_after_the_release(release: str, name: str) -> None:
    assert the(render(release=release), "Deployment")["metadata"]["name"] == name
