"""The operator's rights, written down a second time with the reason for each, so that none is added in passing."""

from chart.rendering import Rule, operator_rules, render

OBSERVE = ("get", "list", "watch")
MANAGE = ("get", "list", "create", "patch", "delete")

NEEDED: dict[tuple[str, str], tuple[str, ...]] = {
    # What it works for. The spec belongs to people; it writes the status.
    ("leyden.dev", "trainingjobs"): OBSERVE,
    ("leyden.dev", "inferenceservices"): OBSERVE,
    ("leyden.dev", "trainingjobs/status"): ("patch",),
    ("leyden.dev", "inferenceservices/status"): ("patch",),
    # Children: the coordinator, workers and their names; servers and their name; all-or-nothing starts.
    # Pods are never changed. Only what happens to pods and Deployments by itself is watched.
    ("", "pods"): (*OBSERVE, "create", "delete"),
    ("", "services"): MANAGE,
    ("apps", "deployments"): (*MANAGE, "watch"),
    ("scheduling.k8s.io", "podgroups"): MANAGE,
    # Workers of a job are reached by each other alone, its coordinator by them and the operator.
    ("networking.k8s.io", "networkpolicies"): MANAGE,
    # A drain leaves a service its answers.
    ("policy", "poddisruptionbudgets"): MANAGE,
    # Whether what a resource names is there, one by one.
    ("", "configmaps"): ("get",),
    ("", "persistentvolumeclaims"): ("get",),
    # What people read in `kubectl describe`; repeated ones are counted up.
    ("", "events"): ("create", "patch"),
}


def test_rights_are_those_written_down() -> None:
    needed: set[Rule] = {(*where, verb) for where, verbs in NEEDED.items() for verb in verbs}
    assert operator_rules(render()) == needed
