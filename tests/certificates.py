"""Certificates of a node, of a peer that its authority knows, and of a stranger, all on loopback, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """A folder of keys and certificates: ``node`` and ``known`` by ``ca``, ``stranger`` by ``other``."""

    folder: Path

    def peer(self, name: str, authority: str = "ca") -> list[str]:
        """DCMTK's options for this certificate."""
        trusted = str(self.folder / f"{authority}.pem")
        return ["+tls", str(self.folder / f"{name}.key"), str(self.folder / f"{name}.pem"), "+cf", trusted]


def make_certificates(folder: Path) -> Certificates:
    """Make them in a folder."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
                "-keyout", f"{authority}.key", "-out", f"{authority}.pem")  # fmt: skip
    (folder / "loopback.cnf").write_text("subjectAltName = IP:127.0.0.1\n")
    for name, authority in (("node", "ca"), ("known", "ca"), ("stranger", "other")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                "-CAcreateserial", "-days", "2", "-extfile", "loopback.cnf", "-out", f"{name}.pem")  # fmt: skip
    return Certificates(folder=folder)
