"""``make quickstart-down``: remove what the quickstart started, and nothing else."""

import subprocess

from leyden_quickstart.cluster import NAMESPACE, RELEASE, SYSTEM_NAMESPACE, ground_here
from leyden_quickstart.processes import capture
from leyden_quickstart.target import KIND_CLUSTER, KIND_KUBECONFIG, Kind, binary, tool


def remove() -> int:
    """Take the local or kind cluster down; from a given cluster remove the release and the namespace.

    Raises:
        StepFailed: with the sentence of the command that did not work.
    """
    target = ground_here().target
    match target.kind:
        case Kind.LOCAL:
            return subprocess.run(tool("leyden_cluster", "down"), check=False).returncode
        case Kind.KIND:
            print(capture(["kind", "delete", "cluster", "--name", KIND_CLUSTER]))
            KIND_KUBECONFIG.unlink(missing_ok=True)
        case Kind.GIVEN:
            kubeconfig = f"--kubeconfig={target.kubeconfig}"
            kubectl, helm = binary("kubectl", target), binary("helm", target)
            print(capture([kubectl, kubeconfig, "delete", "namespace", NAMESPACE, "--ignore-not-found"]))
            print(
                capture(
                    [helm, kubeconfig, "uninstall", RELEASE, f"--namespace={SYSTEM_NAMESPACE}", "--ignore-not-found"]
                )
            )
            print(f"The CRDs and the namespace {SYSTEM_NAMESPACE} stay: others may use them.")
    return 0
