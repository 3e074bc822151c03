"""The real proxies, each with its file of ``deploy/``: only names, ports, certificates and times are put in."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = ("nginx", "haproxy", "caddy")
START_SECONDS = 30.0

# What stands around an included file where Debian installs nginx, as its /etc/nginx/nginx.conf has it.
NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 768; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    gzip on;
    include {file};
}}
"""
CADDY = """{{
    admin off
    auto_https disable_redirects
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls {certificate} {key}
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate for ``localhost`` that signs itself, with its key apart and both in one file."""

    certificate: Path
    key: Path
    both: Path


def make_certificate(folder: Path) -> Certificate:
    """One that counts for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "both.pem")
    made.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    made.both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made


class Proxy:
    """One proxy in front of the server on ``hub``; ``timeout`` in place of the file's seconds, where it has some."""

    def __init__(self, name: str, folder: Path, hub: int, *, timeout: int | None = None) -> None:
        self.name = name
        self.folder = folder
        self.port = _free_port()
        self.certificate = make_certificate(folder)
        self.log = folder / "log"
        server = {"127.0.0.1:8470": f"127.0.0.1:{hub}"}
        if timeout is not None and name != "caddy":  # which has no such limit by itself, and is given none
            server["75s"] = f"{timeout}s"
        environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                getattr(self, f"_{name}")(server), cwd=folder, env=environment, stdout=log, stderr=log
            )
        self._await_start()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"https://localhost:{self.port}"

    def _nginx(self, server: dict[str, str]) -> list[str]:
        pem = "/etc/ssl/live.example.com"
        own = {f"{pem}.pem": str(self.certificate.certificate), f"{pem}.key": str(self.certificate.key)}
        site = self._fill("nginx.conf", {**server, **own, "listen 443 ": f"listen 127.0.0.1:{self.port} "})
        file = self.folder / "nginx-main.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # Debian's own may not look into the folder of a test
        file.write_text(NGINX.format(folder=self.folder, file=site, user=user))
        return [_program("nginx"), "-e", "stderr", "-p", str(self.folder), "-c", str(file)]

    def _haproxy(self, server: dict[str, str]) -> list[str]:
        own = {"/etc/ssl/live.example.com.pem": str(self.certificate.both), "bind :443": f"bind 127.0.0.1:{self.port}"}
        return [_program("haproxy"), "-db", "-f", str(self._fill("haproxy.cfg", {**server, **own}))]

    def _caddy(self, server: dict[str, str]) -> list[str]:
        head = CADDY.format(port=self.port, certificate=self.certificate.certificate, key=self.certificate.key)
        site = self._fill("Caddyfile", {**server, "live.example.com {\n": head})
        return [_program("caddy"), "run", "--config", str(site), "--adapter", "caddyfile"]

    def _fill(self, file: str, values: Mapping[str, str]) -> Path:
        text = (DEPLOY / file).read_text()
        for old, new in values.items():
            assert old in text, f"{old} is no longer in deploy/{file}"
            text = text.replace(old, new)
        filled = self.folder / file
        filled.write_text(text)
        return filled

    def _await_start(self) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, f"no {name} here; `make test` installs it"
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
