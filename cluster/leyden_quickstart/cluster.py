"""The first half of the quickstart: a cluster, the images and the operator."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from leyden_cluster.settings import cache_directory
from leyden_quickstart.console import Console, StepFailed
from leyden_quickstart.kubernetes import Kubectl
from leyden_quickstart.processes import LongCommand, capture, capture_json, run_side_by_side
from leyden_quickstart.target import KIND_CLUSTER, KIND_KUBECONFIG, NODES, Kind, Target, binary, choose_here, tool

ROOT = Path(__file__).resolve().parents[2]
LOGS = cache_directory() / "logs"
SYSTEM_NAMESPACE = "leyden-system"
NAMESPACE = "leyden-quickstart"
RELEASE = "leyden"
REGISTRY_VARIABLE = "LEYDEN_REGISTRY"


@dataclass
class Ground:
    """What the steps find out one after the other."""

    target: Target

    @property
    def kubectl(self) -> Kubectl:
        if self.target.kubeconfig is None:
            raise StepFailed("There is no cluster yet.", "make quickstart")
        return Kubectl(binary("kubectl", self.target), self.target.kubeconfig, NAMESPACE)


def check_machine(ground: Ground, console: Console) -> str:
    """What this way needs is there; for the local cluster, Debian packages are installed where that is wanted."""
    if ground.target.kind is not Kind.LOCAL:
        return _check_tools(ground.target.kind)
    if os.geteuid() != 0:
        raise StepFailed("The local cluster needs root: it makes network namespaces.", "sudo make quickstart")
    if shutil.which("go") is None:
        raise StepFailed("Go is not installed; Kubernetes is built with it.", "https://go.dev/doc/install")
    said = capture(tool("leyden_cluster", "prerequisites", "--install"))
    return said.strip().splitlines()[-1] if said.strip() else "all there"


def _check_tools(kind: Kind) -> str:
    """A cluster that is not ours is spoken to with the tools on ``PATH``."""
    if kind is Kind.GIVEN:
        _registry()
    missing = [name for name in ("kubectl", "helm") if shutil.which(name) is None]
    if not any(shutil.which(engine) for engine in ("docker", "podman", "buildah")):
        missing.append("docker, podman or buildah")
    if missing:
        raise StepFailed(f"Not installed or not on PATH: {', '.join(missing)}.")
    return "all there"


def build(ground: Ground, console: Console) -> str:
    """Kubernetes and the images, side by side: one waits for the processor while the other waits for the network."""
    images = LongCommand("images", tool("leyden_images", "build"), LOGS / "images.log")
    kubernetes = LongCommand("Kubernetes", tool("leyden_cluster", "build"), LOGS / "kubernetes.log")
    run_side_by_side([kubernetes, images] if ground.target.kind is Kind.LOCAL else [images], console)
    return ", ".join(sorted(image_names().values()))


def start_cluster(ground: Ground, console: Console) -> str:
    """The cluster answers and its kubeconfig is known."""
    starts = {
        Kind.LOCAL: tool("leyden_cluster", "up", "--nodes", str(NODES)),
        Kind.KIND: [str(ROOT / "cluster" / "kind-up"), KIND_CLUSTER, str(NODES), str(KIND_KUBECONFIG)],
    }
    if command := starts.get(ground.target.kind):
        run_side_by_side([LongCommand("cluster", command, LOGS / "cluster-up.log")], console)
    ground.target = replace(ground.target, kubeconfig=_kubeconfig(ground.target))
    nodes = ground.kubectl.run("get", "nodes", "--no-headers").strip().splitlines()
    return f"{len(nodes)} nodes; export KUBECONFIG={ground.target.kubeconfig}"


def _kubeconfig(target: Target) -> Path:
    match target.kind:
        case Kind.LOCAL:
            return Path(capture(tool("leyden_cluster", "kubeconfig")).strip())
        case Kind.KIND:
            return KIND_KUBECONFIG
        case Kind.GIVEN:
            return Path(os.environ["KUBECONFIG"])


def load_images(ground: Ground, console: Console) -> str:
    """Every node has the images, or the registry that a given cluster pulls from."""
    names = list(image_names().values())
    match ground.target.kind:
        case Kind.LOCAL:
            commands = [tool("leyden_cluster", "load", *names)]
        case Kind.KIND:
            commands = [["kind", "load", "docker-image", "--name", KIND_CLUSTER, *names]]
        case Kind.GIVEN:
            commands = [tool("leyden_images", "push", _registry())]
    run_side_by_side([LongCommand("load", command, LOGS / "load.log") for command in commands], console)
    return f"{len(names)} images"


def _registry() -> str:
    if registry := os.environ.get(REGISTRY_VARIABLE):
        return registry
    raise StepFailed(
        f"KUBECONFIG names a cluster, so {REGISTRY_VARIABLE} must name a registry that it pulls from.",
        f"{REGISTRY_VARIABLE}=registry.example.com/leyden make quickstart",
    )


def image_names() -> dict[str, str]:
    """Image by part: operator, trainer, server. The tag changes with the content."""
    names: dict[str, str] = capture_json(tool("leyden_images", "names", "--json"))
    return names


def install_operator(ground: Ground, console: Console) -> str:
    """``helm upgrade --install``, and the operator answers its readiness probe."""
    helm = binary("helm", ground.target)
    command = [helm, "upgrade", "--install", RELEASE, str(ROOT / "charts" / "leyden")]
    command += [f"--kubeconfig={ground.target.kubeconfig}", f"--namespace={SYSTEM_NAMESPACE}", "--create-namespace"]
    command += ["--wait", "--timeout=5m", *image_values(ground.target)]
    run_side_by_side([LongCommand("helm", command, LOGS / "helm.log")], console)
    return f"release {RELEASE} in {SYSTEM_NAMESPACE}"


def image_values(target: Target) -> list[str]:
    """helm's ``--set`` arguments that name our images."""
    values = []
    for part, name in image_names().items():
        repository, _, tag = name.rpartition(":")
        if target.kind is Kind.GIVEN:
            repository = f"{_registry()}/{part}"
        values += ["--set", f"images.{part}.repository={repository}", "--set-string", f"images.{part}.tag={tag}"]
    return values


def use_running(ground: Ground) -> None:
    """Point ``ground`` at the cluster that runs already.

    Raises:
        StepFailed: none runs.
    """
    ground.target = replace(ground.target, kubeconfig=_kubeconfig(ground.target))
    ground.kubectl.run("get", "nodes")


def ground_here() -> Ground:
    """Where this machine would run the quickstart."""
    return Ground(choose_here())
