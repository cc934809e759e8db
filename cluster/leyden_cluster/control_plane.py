"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their command lines. Pure."""

from dataclasses import dataclass
from pathlib import Path

from leyden_cluster.pki import Pki
from leyden_cluster.processes import Component
from leyden_cluster.settings import API_SERVICE_ADDRESS, POD_NETWORK, SERVICE_NETWORK

GATES = "--feature-gates=GenericWorkload=true"
"""Kubernetes' own gang scheduling (PodGroup)."""


@dataclass(frozen=True)
class ControlPlane:
    """Where the components listen and keep their files."""

    binaries: Path
    directory: Path
    address: str
    port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def pki(self) -> Pki:
        return Pki(self.directory / "pki")

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.port}"

    def issue_certificates(self) -> None:
        """Every certificate and kubeconfig of the control plane that does not exist yet."""
        pki = self.pki
        pki.make_authorities()
        dns = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
        names = (*(f"DNS:{name}" for name in (*dns, "localhost")), f"IP:{API_SERVICE_ADDRESS}", "IP:127.0.0.1")
        addresses = () if self.address == "127.0.0.1" else (f"IP:{self.address}",)
        pki.issue("apiserver", "/CN=kube-apiserver", names + addresses)
        pki.issue("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client")
        pki.issue("front-proxy", "/CN=front-proxy-client", authority="front-proxy-ca")
        for name, subject in (
            ("admin", "/O=system:masters/CN=admin"),
            ("controller-manager", "/CN=system:kube-controller-manager"),
            ("scheduler", "/CN=system:kube-scheduler"),
            ("proxy", "/CN=system:kube-proxy"),
        ):
            pki.issue(name, subject)
            pki.kubeconfig(name, self.server)

    def etcd(self) -> Component:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.etcd_peer_port}"
        return self._component(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # A crash of the process loses nothing; only the machine's would, and the cluster does not outlive that.
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def apiserver(self) -> Component:
        pki = self.pki
        return self._component(
            "kube-apiserver",
            GATES,
            "--runtime-config=scheduling.k8s.io/v1beta1=true",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--advertise-address={self.address}",
            f"--bind-address={self.address}",
            f"--secure-port={self.port}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={pki.path('ca.crt')}",
            f"--tls-cert-file={pki.path('apiserver.crt')}",
            f"--tls-private-key-file={pki.path('apiserver.key')}",
            f"--service-account-key-file={pki.path('sa.pub')}",
            f"--service-account-signing-key-file={pki.path('sa.key')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--kubelet-client-certificate={pki.path('apiserver-kubelet.crt')}",
            f"--kubelet-client-key={pki.path('apiserver-kubelet.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={pki.path('front-proxy-ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={pki.path('front-proxy.crt')}",
            f"--proxy-client-key-file={pki.path('front-proxy.key')}",
            "--enable-aggregator-routing=true",
            "--allow-privileged=true",
            # Nothing is to reach an API server on the loopback interface through a Service.
            *(["--endpoint-reconciler-type=none"] if self.address == "127.0.0.1" else []),
        )

    def controller_manager(self, *arguments: str) -> Component:
        return self._component(
            "kube-controller-manager",
            GATES,
            *self._identity("controller-manager"),
            f"--service-account-private-key-file={self.pki.path('sa.key')}",
            f"--root-ca-file={self.pki.path('ca.crt')}",
            f"--cluster-cidr={POD_NETWORK}",
            "--use-service-account-credentials",
            "--node-monitor-period=2s",
            "--node-monitor-grace-period=16s",
            "--leader-elect=false",
            *arguments,
        )

    def scheduler(self) -> Component:
        return self._component("kube-scheduler", GATES, *self._identity("scheduler"), "--leader-elect=false")

    def _identity(self, name: str) -> tuple[str, ...]:
        path = self.pki.path(f"{name}.kubeconfig")
        return (f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}")

    def _component(self, name: str, *arguments: str) -> Component:
        return Component(name, (str(self.binaries / name), *arguments), self.directory)
