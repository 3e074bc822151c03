"""The systemd unit of ``deploy/``: what it says is carried out, as systemd would."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.client.hub import free_port, wait_until

UNIT = Path(__file__).parents[2] / "deploy" / "milepost.service"


@pytest.fixture(name="unit")
def fixture_unit() -> configparser.ConfigParser:
    """Its sections."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


def test_the_unit_starts_a_server_that_stops_in_time(unit: configparser.ConfigParser, tmp_path: Path) -> None:
    """Its command, in its folder and with its environment, serves; SIGTERM ends it with 0 before its time is up."""
    service = unit["Service"]
    command = shlex.split(service["ExecStart"])
    assert command[0] == "/opt/milepost/bin/milepost"
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "MILEPOST_SECRET": "0123456789abcdef" * 2, "MILEPOST_PORT": str(port)}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "milepost", *command[1:]], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _is_ready(server, port), seconds=30, what=(tmp_path / "log").read_text())
        assert (tmp_path / "milepost.db").exists()  # in the working directory, which is the state directory
        server.send_signal(signal.SIGTERM)
        assert server.wait(int(service["TimeoutStopSec"])) == 0
    finally:
        server.kill()
        server.wait()


def test_the_unit_agrees_with_itself(unit: configparser.ConfigParser) -> None:
    """The working directory is the state directory; there are files for every stream, and time for a drain."""
    from milepost.settings import Settings

    service = unit["Service"]
    assert service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    assert re.fullmatch(r"/etc/\S+", service["EnvironmentFile"])
    defaults = Settings.model_fields
    assert int(service["LimitNOFILE"]) > defaults["max_streams"].default + 100
    assert int(service["TimeoutStopSec"]) >= defaults["drain_seconds"].default + 10


def _is_ready(server: subprocess.Popen[bytes], port: int) -> bool:
    assert server.poll() is None
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except httpx2.TransportError:
        return False
