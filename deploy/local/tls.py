"""Certificates for a broker on 127.0.0.1: an authority of its own and what it signed, made by openssl."""

import subprocess
from pathlib import Path

from steps import Failure


def certify(folder: Path) -> None:
    """Writes ca.pem, for clients, and server.pem (key, certificate, authority: the one file that Kafka reads)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    issue(folder, "ca", "/CN=Hookline local authority")
    issue(
        folder, "server", "/CN=127.0.0.1",
        "-CA", "ca.pem", "-CAkey", "ca.key",
        "-addext", "basicConstraints=CA:FALSE",
        "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
    )  # fmt: skip
    certificate = (folder / "server.pem").read_text()
    key, authority = ((folder / name).read_text() for name in ("server.key", "ca.pem"))
    (folder / "server.pem").write_text(key + certificate + authority)


def issue(folder: Path, name: str, subject: str, *options: str) -> None:
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
        "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.pem", *options,
    ]  # fmt: skip
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if made.returncode != 0:
        raise Failure(f"openssl made no certificate of {name}: {made.stderr.strip()} (it takes openssl 3)")
