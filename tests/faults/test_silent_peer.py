"""A reader whose network goes away without a word, in a network of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.process import Server, token, wait_until

RELEASED_WITHIN = 30.0

# reads its stream until it is killed; prints a line for the first byte of the body
READER = """
import socket, sys
host, port, token = sys.argv[1:]
s = socket.create_connection((host, int(port)))
s.sendall(f"GET /api/stream HTTP/1.1\\r\\nhost: {host}\\r\\nauthorization: Bearer {token}\\r\\n\\r\\n".encode())
while data := s.recv(65536):
    if b"event: live" in data:
        print("live", flush=True)
"""


# of this run alone, since whatever runs beside it on the machine shares the names and the addresses
RUN = os.getpid()
OURS, THEIRS = (f"10.213.{RUN % 250}.{RUN // 250 % 60 * 4 + host}" for host in (1, 2))
CABLE = f"mp{RUN}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@pytest.fixture
def network() -> Iterator[str]:
    """A network namespace joined to ours by a cable; its name. This end is OURS, the other THEIRS."""
    name = f"milepost-{RUN}"
    _clear(name)
    _ip("netns", "add", name)
    try:
        _ip("link", "add", CABLE, "type", "veth", "peer", "name", "there", "netns", name)
        _ip("addr", "add", f"{OURS}/30", "dev", CABLE)
        _ip("link", "set", CABLE, "up")
        _ip("-n", name, "addr", "add", f"{THEIRS}/30", "dev", "there")
        _ip("-n", name, "link", "set", "there", "up")
        yield name
    finally:
        _clear(name)


def _clear(name: str) -> None:
    """The cable first: the kernel takes its time to pull it out of a namespace that is going away."""
    for words in (["link", "del", CABLE], ["netns", "del", name]):
        subprocess.run(["ip", *words], check=False, capture_output=True, timeout=10)


@pytest.mark.timeout(120)
def test_a_peer_that_dies_silently_is_released_within_half_a_minute(tmp_path: Path, network: str) -> None:
    """Packets of the reader vanish, nothing says goodbye: its stream is released within 30 s."""
    server = Server(tmp_path, host=OURS)
    server.start()
    try:
        reader = subprocess.Popen(
            ["ip", "netns", "exec", network, sys.executable, "-c", READER, OURS, str(server.port), token()],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "live\n"
            assert server.streams == 1
            _ip("-n", network, "route", "add", "blackhole", f"{OURS}/32")
            gone = time.monotonic()
            wait_until(lambda: server.streams == 0, seconds=RELEASED_WITHIN + 5, what="the stream is released")
            assert time.monotonic() - gone <= RELEASED_WITHIN
            print("released after", time.monotonic() - gone)
        finally:
            reader.kill()
            reader.communicate(timeout=10)
    finally:
        server.close()
