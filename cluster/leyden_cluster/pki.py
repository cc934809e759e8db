"""Certificates and kubeconfig files of a cluster, made with openssl."""

import json
from dataclasses import dataclass
from pathlib import Path

from leyden_cluster.processes import run

DAYS = "3650"


@dataclass(frozen=True)
class Pki:
    """A folder of keys: a CA for clients and servers, one for the aggregation layer, and the service accounts' key."""

    directory: Path

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def make_authorities(self) -> None:
        """Make the authorities that do not exist yet."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("ca", "front-proxy-ca"):
            if not (self.directory / f"{name}.crt").exists():
                subject = ("-subj", f"/CN=leyden-{name}", "-days", DAYS)
                key = (
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-keyout",
                    self.path(f"{name}.key"),
                )
                run("openssl", "req", "-x509", *key, *subject, "-out", self.path(f"{name}.crt"))
        if not (self.directory / "sa.pub").exists():
            run("openssl", "genrsa", "-out", self.path("sa.key"), "2048")
            run("openssl", "rsa", "-in", self.path("sa.key"), "-pubout", "-out", self.path("sa.pub"))

    def issue(self, name: str, subject: str, names: tuple[str, ...] = (), authority: str = "ca") -> None:
        """A certificate for a subject such as ``/O=system:masters/CN=admin``, unless it is there already."""
        if (self.directory / f"{name}.crt").exists():
            return
        key = self._new_key(name)
        request = run("openssl", "req", *key, "-subj", subject, "-out", "/dev/stdout")
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "")
        signer = ("-CA", self.path(f"{authority}.crt"), "-CAkey", self.path(f"{authority}.key"), "-CAcreateserial")
        made = ("-days", DAYS, "-extfile", str(extensions), "-out", self.path(f"{name}.crt.part"))
        run("openssl", "x509", "-req", *signer, *made, stdin=request)
        (self.directory / f"{name}.crt.part").rename(self.directory / f"{name}.crt")

    def kubeconfig(self, name: str, server: str) -> Path:
        """A kubeconfig (JSON is YAML) for an issued certificate, with everything in one file."""
        path = self.directory / f"{name}.kubeconfig"
        cluster = {"server": server, "certificate-authority-data": self._base64("ca.crt")}
        user = {"client-certificate-data": self._base64(f"{name}.crt"), "client-key-data": self._base64(f"{name}.key")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "leyden",
            "clusters": [{"name": "leyden", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "leyden", "context": {"cluster": "leyden", "user": name}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))
        return path

    def _new_key(self, name: str) -> tuple[str, ...]:
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        return (*kind, "-keyout", self.path(f"{name}.key"))

    def _base64(self, name: str) -> str:
        return run("openssl", "base64", "-A", "-in", self.path(name))
