"""A reader whose network goes away without a word, in a network of the test's own."""

from __future__ import annotations

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


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


@pytest.fixture
def network() -> Iterator[str]:
    """A network namespace joined to ours by a cable; its name. Ours is 10.213.77.1, its is 10.213.77.2."""
    name = "milepost-test"
    _clear(name)
    _ip("netns", "add", name)
    try:
        _ip("link", "add", "milepost0", "type", "veth", "peer", "name", "milepost1", "netns", name)
        _ip("addr", "add", "10.213.77.1/30", "dev", "milepost0")
        _ip("link", "set", "milepost0", "up")
        _ip("-n", name, "addr", "add", "10.213.77.2/30", "dev", "milepost1")
        _ip("-n", name, "link", "set", "milepost1", "up")
        yield name
    finally:
        _clear(name)


def _clear(name: str) -> None:
    """The cable first: the kernel takes its time to pull it out of a namespace that is going away."""
    for words in (["link", "del", "milepost0"], ["netns", "del", name]):
        subprocess.run(["ip", *words], check=False, capture_output=True, timeout=10)


@pytest.mark.timeout(120)
def test_a_peer_that_dies_silently_is_released_within_half_a_minute(tmp_path: Path, network: str) -> None:
    """Packets of the reader vanish, nothing says goodbye: its stream is released within 30 s."""
    server = Server(tmp_path, host="10.213.77.1")
    server.start()
    try:
        reader = subprocess.Popen(
            ["ip", "netns", "exec", network, sys.executable, "-c", READER, "10.213.77.1", str(server.port), token()],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "live\n"
            assert server.streams == 1
            _ip("-n", network, "route", "add", "blackhole", "10.213.77.1/32")
            gone = time.monotonic()
            wait_until(lambda: server.streams == 0, seconds=RELEASED_WITHIN + 5, what="the stream is released")
            assert time.monotonic() - gone <= RELEASED_WITHIN
            print("released after", time.monotonic() - gone)
        finally:
            reader.kill()
            reader.communicate(timeout=10)
    finally:
        server.close()
